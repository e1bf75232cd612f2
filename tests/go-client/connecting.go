package main

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"strings"
	"time"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-gateway/pkg/hash"
	"github.com/hyperledger/fabric-gateway/pkg/identity"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Connecting: TLS, and the identities that a gateway takes.
var connecting = map[string]scenario{
	"connect-over-tls": func(w *world) {
		m := w.user(w.home)
		connection := newConnection(m.address, m.tlsAuthority)
		defer connection.Close()
		gateway := m.open(connection)
		defer gateway.Close()
		text(must(w.contractOf(gateway).EvaluateTransaction("WhoAmI")), w.home)
	},

	"connect-with-another-authority": func(w *world) {
		m := w.user(w.home)
		connection := newConnection(m.address, w.user(w.second).tlsAuthority)
		defer connection.Close()
		gateway := m.open(connection)
		defer gateway.Close()
		_, err := w.contractOf(gateway).EvaluateTransaction("WhoAmI")
		equal(status.Code(err), codes.Unavailable)
	},

	"identity-p256": func(w *world) {
		m := w.user(w.home)
		key, ok := m.key.(*ecdsa.PrivateKey)
		verify(ok && key.Curve == elliptic.P256(), "another kind of key: %T", m.key)
		verify(key.PublicKey.Equal(m.certificate.PublicKey), "certificate and key belong together")
		seen := w.gateway(w.home).Identity()
		equal(seen.MspID(), w.home)
		text(seen.Credentials(), string(must(identity.CertificateToPEM(m.certificate))))
	},

	"identity-p384": func(w *world) {
		m := w.member(w.home, w.settings.Identities["P-384"])
		key, ok := m.key.(*ecdsa.PrivateKey)
		verify(ok && key.Curve == elliptic.P384(), "another kind of key: %T", m.key)
		tryIdentity(w, m, "p384", hash.SHA256)
	},

	"identity-ed25519": func(w *world) {
		m := w.member(w.home, w.settings.Identities["Ed25519"])
		_, ok := m.key.(ed25519.PrivateKey)
		verify(ok, "another kind of key: %T", m.key)
		tryIdentity(w, m, "ed25519", hash.NONE)
	},

	"identity-with-another-key": func(w *world) {
		m := w.user(w.home)
		gateway := m.open(w.connection(m), client.WithSign(w.user(w.second).sign()))
		defer gateway.Close()
		contract := w.contractOf(gateway)
		_, err := contract.EvaluateTransaction("WhoAmI")
		verify(err != nil && strings.Contains(words(err), "access denied"), "%v", err)
		_, err = contract.SubmitTransaction("Put", w.key("stranger"), "x")
		verify(err != nil && strings.Contains(words(err), "access denied"), "%v", err)
		start := client.WithStartBlock(w.settings.FirstBlock)
		network := gateway.GetNetwork(w.settings.Channel)
		context, cancel := cancellable()
		defer cancel()
		heard := must(network.ChaincodeEvents(context, w.settings.Contract, start))
		equal(ends(heard, 10*time.Second), 0)
		blocks := must(network.BlockEvents(context, start))
		equal(ends(blocks, 10*time.Second), 0)
	},
}

// tryIdentity submits and listens as a user: all that is signed is taken.
func tryIdentity(w *world, m member, name string, digest hash.Hash) {
	gateway := m.open(w.connection(m), client.WithHash(digest))
	defer gateway.Close()
	contract := w.contractOf(gateway)
	text(must(contract.EvaluateTransaction("WhoAmI")), w.home)
	_, commit, err := contract.SubmitAsync("Add", client.WithArguments(w.key(name), "5"))
	succeed(err)
	status := must(commit.Status())
	verify(status.Successful, "code %s", status.Code)
	start := client.WithStartBlock(status.BlockNumber)
	network := gateway.GetNetwork(w.settings.Channel)
	context, cancel := cancellable()
	heard := must(network.ChaincodeEvents(context, w.settings.Contract, start))
	equal(takeUntil(heard, cancel, first)[0].TransactionID, status.TransactionID)
	context, cancel = cancellable()
	blocks := must(network.BlockEvents(context, start))
	equal(takeUntil(blocks, cancel, first)[0].GetHeader().GetNumber(), status.BlockNumber)
}
