package main

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-gateway/pkg/hash"
	"github.com/hyperledger/fabric-gateway/pkg/identity"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// settings describe a network: its first member is the home of the application.
type settings struct {
	Channel    string `json:"channel"`
	Contract   string `json:"contract"`
	User       string `json:"user"`
	FirstBlock uint64 `json:"firstBlock"`
	// Put before every key, so that one network can be used again.
	Prefix  string `json:"prefix"`
	Members []struct {
		MSPID   string `json:"mspId"`
		Profile string `json:"profile"`
		Users   string `json:"users"`
	} `json:"members"`
	// Users of the first member by the kind of their key.
	Identities map[string]string `json:"identities"`
	// A collection whose members are the first two.
	Collection string `json:"collection"`
	// How the peer of one member, not one of the first three, is stopped and started.
	Restart struct {
		MSPID string   `json:"mspId"`
		Stop  []string `json:"stop"`
		Start []string `json:"start"`
	} `json:"restart"`
}

// member is what an application has of its organisation: gateway, TLS authority, identity and key.
type member struct {
	mspID        string
	address      string
	tlsAuthority []byte
	certificate  *x509.Certificate
	key          crypto.PrivateKey
}

// world is what scenarios share: connections, kept until the end, and small aids.
type world struct {
	settings            settings
	home, second, third string
	lock                sync.Mutex
	connections         map[string]*grpc.ClientConn
	gateways            map[string]*client.Gateway
}

func newWorld(given settings) *world {
	return &world{
		settings:    given,
		home:        given.Members[0].MSPID,
		second:      given.Members[1].MSPID,
		third:       given.Members[2].MSPID,
		connections: map[string]*grpc.ClientConn{},
		gateways:    map[string]*client.Gateway{},
	}
}

func (w *world) close() {
	for _, each := range w.gateways {
		succeed(each.Close())
	}
	for _, each := range w.connections {
		succeed(each.Close())
	}
}

func (w *world) key(name string) string {
	return w.settings.Prefix + name
}

// member reads a connection profile and the MSP folder of one of the member's users.
func (w *world) member(mspID, user string) member {
	for _, each := range w.settings.Members {
		if each.MSPID == mspID {
			return loadMember(each.Profile, filepath.Join(each.Users, user, "msp"))
		}
	}
	fail("the settings have no member %s", mspID)
	panic("never")
}

func loadMember(profilePath, mspFolder string) member {
	var profile struct {
		Client struct {
			Organization string `json:"organization"`
		} `json:"client"`
		Organizations map[string]struct {
			MSPID string   `json:"mspid"`
			Peers []string `json:"peers"`
		} `json:"organizations"`
		Peers map[string]struct {
			URL        string `json:"url"`
			TLSCACerts struct {
				PEM string `json:"pem"`
			} `json:"tlsCACerts"`
		} `json:"peers"`
	}
	succeed(json.Unmarshal(must(os.ReadFile(profilePath)), &profile))
	organisation := profile.Organizations[profile.Client.Organization]
	peer := profile.Peers[organisation.Peers[0]]
	return member{
		mspID:        organisation.MSPID,
		address:      must(url.Parse(peer.URL)).Host,
		tlsAuthority: []byte(peer.TLSCACerts.PEM),
		certificate:  must(identity.CertificateFromPEM(onlyFile(mspFolder, "signcerts"))),
		key:          must(identity.PrivateKeyFromPEM(onlyFile(mspFolder, "keystore"))),
	}
}

func onlyFile(folder, name string) []byte {
	place := filepath.Join(folder, name)
	files := must(os.ReadDir(place))
	verify(len(files) == 1, "%s should hold one file", place)
	return must(os.ReadFile(filepath.Join(place, files[0].Name())))
}

func (m member) identity() *identity.X509Identity {
	return must(identity.NewX509Identity(m.mspID, m.certificate))
}

func (m member) sign() identity.Sign {
	return must(identity.NewPrivateKeySign(m.key))
}

func newConnection(address string, tlsAuthority []byte) *grpc.ClientConn {
	pool := x509.NewCertPool()
	verify(pool.AppendCertsFromPEM(tlsAuthority), "no TLS authority")
	tls := credentials.NewClientTLSFromCert(pool, "")
	return must(grpc.NewClient(address, grpc.WithTransportCredentials(tls)))
}

// open connects a user; options replace the usual ones.
func (m member) open(connection *grpc.ClientConn, options ...client.ConnectOption) *client.Gateway {
	usual := []client.ConnectOption{
		client.WithClientConnection(connection),
		client.WithSign(m.sign()),
		client.WithHash(hash.SHA256),
		client.WithEvaluateTimeout(10 * time.Second),
		client.WithEndorseTimeout(15 * time.Second),
		client.WithSubmitTimeout(10 * time.Second),
		client.WithCommitStatusTimeout(30 * time.Second),
	}
	return must(client.Connect(m.identity(), append(usual, options...)...))
}

// openWithoutSigner connects a user whose key is elsewhere.
func (m member) openWithoutSigner(connection *grpc.ClientConn) *client.Gateway {
	return must(client.Connect(
		m.identity(),
		client.WithClientConnection(connection),
		client.WithHash(hash.SHA256),
		client.WithCommitStatusTimeout(30*time.Second),
	))
}

func (w *world) user(mspID string) member {
	return w.member(mspID, w.settings.User)
}

// connection to a member's node, one for all users.
func (w *world) connection(m member) *grpc.ClientConn {
	w.lock.Lock()
	defer w.lock.Unlock()
	if w.connections[m.address] == nil {
		w.connections[m.address] = newConnection(m.address, m.tlsAuthority)
	}
	return w.connections[m.address]
}

// gateway of a member for the usual user, kept until the end.
func (w *world) gateway(mspID string) *client.Gateway {
	if w.gateways[mspID] == nil {
		m := w.user(mspID)
		w.gateways[mspID] = m.open(w.connection(m))
	}
	return w.gateways[mspID]
}

func (w *world) network() *client.Network {
	return w.gateway(w.home).GetNetwork(w.settings.Channel)
}

func (w *world) contract() *client.Contract {
	return w.contractOf(w.gateway(w.home))
}

func (w *world) contractOf(gateway *client.Gateway) *client.Contract {
	return gateway.GetNetwork(w.settings.Channel).GetContract(w.settings.Contract)
}

// nextBlock is the number of the block after the newest one, which a new transaction tells.
func (w *world) nextBlock() uint64 {
	return w.add("mark", 1)[0].BlockNumber + 1
}

// add submits Add some times, one after the other, and returns the statuses.
func (w *world) add(name string, count int) []*client.Status {
	var statuses []*client.Status
	for range count {
		_, commit, err := w.contract().SubmitAsync("Add", client.WithArguments(w.key(name), "1"))
		succeed(err)
		status := must(commit.Status())
		verify(status.Successful, "code %s", status.Code)
		statuses = append(statuses, status)
	}
	return statuses
}

// conflict endorses two transactions on one state and submits both: the second meets a conflict.
func (w *world) conflict(name string) []*client.Status {
	var endorsed []*client.Transaction
	for _, number := range []string{"1", "2"} {
		proposal := must(w.contract().NewProposal("Add", client.WithArguments(w.key(name), number)))
		endorsed = append(endorsed, must(proposal.Endorse()))
	}
	var statuses []*client.Status
	for _, transaction := range endorsed {
		statuses = append(statuses, must(must(transaction.Submit()).Status()))
	}
	return statuses
}

func (w *world) get(name string) string {
	return string(must(w.contract().EvaluateTransaction("Get", w.key(name))))
}

// takeUntil takes from a stream until enough(taken); cancel closes it.
func takeUntil[T any](stream <-chan T, cancel context.CancelFunc, enough func([]T) bool) []T {
	defer cancel()
	var taken []T
	for each := range stream {
		taken = append(taken, each)
		if enough(taken) {
			return taken
		}
	}
	fail("the stream ended after %d", len(taken))
	panic("never")
}

func first[T any](taken []T) bool {
	return len(taken) == 1
}

// ends waits until a stream ends, and returns how many came before.
func ends[T any](stream <-chan T, within time.Duration) int {
	count := 0
	late := time.After(within)
	for {
		select {
		case _, open := <-stream:
			if !open {
				return count
			}
			count++
		case <-late:
			fail("the stream did not end within %s", within)
		}
	}
}

func cancellable() (context.Context, context.CancelFunc) {
	return context.WithCancel(context.Background())
}
