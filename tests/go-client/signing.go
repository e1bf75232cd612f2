package main

import (
	"strings"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-gateway/pkg/hash"
	"github.com/hyperledger/fabric-gateway/pkg/identity"
)

// Offline signing: the key is elsewhere, bytes and digests travel; the gateway signs nothing.
var signing = map[string]scenario{
	"offline-signing-needs-a-signature": func(w *world) {
		gateway, _ := withoutSigner(w)
		defer gateway.Close()
		_, err := w.contractOf(gateway).EvaluateTransaction("WhoAmI")
		verify(err != nil && strings.Contains(err.Error(), "no sign implementation"), "%v", err)
	},

	"offline-signing-of-a-query": func(w *world) {
		gateway, sign := withoutSigner(w)
		defer gateway.Close()
		unsigned := must(w.contractOf(gateway).NewProposal("WhoAmI"))
		signature := must(sign(unsigned.Digest()))
		proposal := must(gateway.NewSignedProposal(must(unsigned.Bytes()), signature))
		text(must(proposal.Evaluate()), w.home)
	},

	"offline-signing-of-a-transaction": func(w *world) {
		gateway, sign := withoutSigner(w)
		defer gateway.Close()
		transaction, unsigned := endorsedOffline(w, gateway, sign, "offline")
		equal(transaction.TransactionID(), unsigned.TransactionID())
		commit := must(transaction.Submit())
		// The status is asked by somebody who has a key.
		status := must(must(w.gateway(w.home).NewCommit(must(commit.Bytes()))).Status())
		verify(status.Successful, "code %s", status.Code)
		equal(status.TransactionID, unsigned.TransactionID())
	},

	"offline-signing-of-a-commit-status": func(w *world) {
		gateway, sign := withoutSigner(w)
		defer gateway.Close()
		transaction, _ := endorsedOffline(w, gateway, sign, "offline status")
		unsigned := must(transaction.Submit())
		signature := must(sign(unsigned.Digest()))
		commit := must(gateway.NewSignedCommit(must(unsigned.Bytes()), signature))
		status := must(commit.Status())
		verify(status.Successful, "code %s", status.Code)
		equal(status.TransactionID, transaction.TransactionID())
	},

	"offline-signing-of-chaincode-events": func(w *world) {
		gateway, sign := withoutSigner(w)
		defer gateway.Close()
		status := w.add("signed events", 1)[0]
		start := client.WithStartBlock(status.BlockNumber)
		network := gateway.GetNetwork(w.settings.Channel)
		unsigned := must(network.NewChaincodeEventsRequest(w.settings.Contract, start))
		signature := must(sign(unsigned.Digest()))
		request := must(gateway.NewSignedChaincodeEventsRequest(must(unsigned.Bytes()), signature))
		context, cancel := cancellable()
		stream := must(request.Events(context))
		equal(takeUntil(stream, cancel, first)[0].TransactionID, status.TransactionID)
	},

	"offline-signing-of-block-events": func(w *world) {
		gateway, sign := withoutSigner(w)
		defer gateway.Close()
		start := w.nextBlock() - 1
		network := gateway.GetNetwork(w.settings.Channel)
		unsigned := must(network.NewBlockEventsRequest(client.WithStartBlock(start)))
		signature := must(sign(unsigned.Digest()))
		request := must(gateway.NewSignedBlockEventsRequest(must(unsigned.Bytes()), signature))
		context, cancel := cancellable()
		stream := must(request.Events(context))
		equal(takeUntil(stream, cancel, first)[0].GetHeader().GetNumber(), start)
	},

	"offline-signing-of-filtered-block-events": func(w *world) {
		gateway, sign := withoutSigner(w)
		defer gateway.Close()
		start := w.nextBlock() - 1
		network := gateway.GetNetwork(w.settings.Channel)
		unsigned := must(network.NewFilteredBlockEventsRequest(client.WithStartBlock(start)))
		signature := must(sign(unsigned.Digest()))
		request := must(
			gateway.NewSignedFilteredBlockEventsRequest(must(unsigned.Bytes()), signature),
		)
		context, cancel := cancellable()
		stream := must(request.Events(context))
		equal(takeUntil(stream, cancel, first)[0].GetNumber(), start)
	},

	"offline-signing-of-private-block-events": func(w *world) {
		gateway, sign := withoutSigner(w)
		defer gateway.Close()
		start := w.nextBlock() - 1
		network := gateway.GetNetwork(w.settings.Channel)
		unsigned := must(
			network.NewBlockAndPrivateDataEventsRequest(client.WithStartBlock(start)),
		)
		signature := must(sign(unsigned.Digest()))
		request := must(
			gateway.NewSignedBlockAndPrivateDataEventsRequest(must(unsigned.Bytes()), signature),
		)
		context, cancel := cancellable()
		stream := must(request.Events(context))
		taken := takeUntil(stream, cancel, first)[0]
		equal(taken.GetBlock().GetHeader().GetNumber(), start)
	},

	"the-signer-may-do-the-hashing": func(w *world) {
		// With hash.NONE the signer gets the whole message, as a key that hashes for itself wants.
		m := w.user(w.home)
		sign := m.sign()
		gateway := m.open(
			w.connection(m),
			client.WithHash(hash.NONE),
			client.WithSign(func(message []byte) ([]byte, error) {
				return sign(hash.SHA256(message))
			}),
		)
		defer gateway.Close()
		text(must(w.contractOf(gateway).EvaluateTransaction("WhoAmI")), w.home)
	},
}

func withoutSigner(w *world) (*client.Gateway, identity.Sign) {
	m := w.user(w.home)
	return m.openWithoutSigner(w.connection(m)), m.sign()
}

// endorsedOffline returns a transaction that is endorsed and signed, all of it elsewhere.
func endorsedOffline(
	w *world, gateway *client.Gateway, sign identity.Sign, name string,
) (*client.Transaction, *client.Proposal) {
	arguments := client.WithArguments(w.key(name), "9")
	unsigned := must(w.contractOf(gateway).NewProposal("Add", arguments))
	signature := must(sign(unsigned.Digest()))
	proposal := must(gateway.NewSignedProposal(must(unsigned.Bytes()), signature))
	transaction := must(proposal.Endorse())
	signature = must(sign(transaction.Digest()))
	return must(gateway.NewSignedTransaction(must(transaction.Bytes()), signature)), unsigned
}
