package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"strings"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/protobuf/proto"
)

// Private data: in a collection, and with blocks.
var privateData = map[string]scenario{
	"private-data": func(w *world) {
		value, transaction, status := w.putPrivate("private")
		raw := must(transaction.Bytes())
		verify(!bytes.Contains(raw, value), "the transaction holds the value")
		for _, each := range w.settings.Members {
			isMember := each.MSPID == w.home || each.MSPID == w.second
			verify(bytes.Contains(raw, []byte(each.MSPID)) == isMember, "%s", each.MSPID)
		}
		arguments := []string{w.settings.Collection, w.key("private")}
		for _, mspID := range []string{w.home, w.second} {
			contract := w.contractOf(w.gateway(mspID))
			text(must(contract.EvaluateTransaction("GetPrivate", arguments...)), string(value))
		}
		// Another organisation's peer may have the block a little later.
		w.privateBlock(w.third, status.BlockNumber)
		contract := w.contractOf(w.gateway(w.third))
		text(must(contract.EvaluateTransaction("HashPrivate", arguments...)), hexDigest(value))
	},

	"private-data-of-others": func(w *world) {
		w.putPrivate("not yours")
		contract := w.contractOf(w.gateway(w.third))
		arguments := []string{w.settings.Collection, w.key("not yours")}
		_, err := contract.EvaluateTransaction("GetPrivate", arguments...)
		expected := "does not have read access permission on privatedata"
		verify(err != nil && strings.Contains(words(err), expected), "%v", err)
	},

	"private-block-events": func(w *world) {
		status := w.add("without private data", 1)[0]
		context, cancel := cancellable()
		start := client.WithStartBlock(status.BlockNumber)
		stream := must(w.network().BlockAndPrivateDataEvents(context, start))
		taken := takeUntil(stream, cancel, first)[0]
		equal(taken.GetBlock().GetHeader().GetNumber(), status.BlockNumber)
		for index, each := range taken.GetBlock().GetData().GetData() {
			if bytes.Contains(each, []byte(status.TransactionID)) {
				verify(taken.GetPrivateDataMap()[uint64(index)] == nil, "there should be none")
				return
			}
		}
		fail("the transaction is not in its block")
	},

	"private-block-events-with-data": func(w *world) {
		value, _, status := w.putPrivate("with a block")
		taken := w.privateBlock(w.home, status.BlockNumber)
		for index, each := range taken.GetBlock().GetData().GetData() {
			if !bytes.Contains(each, []byte(status.TransactionID)) {
				continue
			}
			sets := taken.GetPrivateDataMap()[uint64(index)].GetNsPvtRwset()
			set := sets[0].GetCollectionPvtRwset()[0]
			equal(set.GetCollectionName(), w.settings.Collection)
			verify(bytes.Contains(set.GetRwset(), value), "the value is not in its set")
		}
		verify(!bytes.Contains(must(proto.Marshal(taken.GetBlock())), value), "it is in the block")
		others := must(proto.Marshal(w.privateBlock(w.third, status.BlockNumber)))
		verify(!bytes.Contains(others, value), "another organisation gets the value")
	},
}

// putPrivate puts a value that nobody else has into the collection.
func (w *world) putPrivate(name string) ([]byte, *client.Transaction, *client.Status) {
	secret := make([]byte, 16)
	must(rand.Read(secret))
	value := []byte(hex.EncodeToString(secret))
	proposal := must(w.contract().NewProposal(
		"PutPrivate",
		client.WithArguments(w.settings.Collection, w.key(name)),
		client.WithTransient(map[string][]byte{"value": value}),
	))
	transaction := must(proposal.Endorse())
	status := must(must(transaction.Submit()).Status())
	verify(status.Successful, "code %s", status.Code)
	return value, transaction, status
}

// privateBlock is a block with private data as a member's user gets it.
func (w *world) privateBlock(mspID string, number uint64) *peer.BlockAndPrivateData {
	network := w.gateway(mspID).GetNetwork(w.settings.Channel)
	context, cancel := cancellable()
	start := client.WithStartBlock(number)
	stream := must(network.BlockAndPrivateDataEvents(context, start))
	taken := takeUntil(stream, cancel, first)[0]
	equal(taken.GetBlock().GetHeader().GetNumber(), number)
	return taken
}
