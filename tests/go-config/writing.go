package main

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/hyperledger/fabric-config/configtx"
	"github.com/hyperledger/fabric-config/configtx/membership"
	"github.com/hyperledger/fabric-config/protolator"
	cb "github.com/hyperledger/fabric-protos-go-apiv2/common"
	"google.golang.org/protobuf/proto"
)

// Request says what is to be changed in the configuration of a block, and who agrees.
type Request struct {
	Block   string   `json:"block"`
	Channel string   `json:"channel"`
	Changes []Change `json:"changes"`
	Signers []Signer `json:"signers"`
	Out     string   `json:"out"`
	// For compare: the marshalled configuration that is to come, and the update that leads to it.
	Updated string `json:"updated"`
	Update  string `json:"update"`
}

// Change is one change; which fields count is said by its kind.
type Change struct {
	Kind         string `json:"kind"`
	Name         string `json:"name"`
	Count        uint32 `json:"count"`
	TimeoutMs    int64  `json:"timeoutMs"`
	Host         string `json:"host"`
	Port         int    `json:"port"`
	Rule         string `json:"rule"`
	Certificate  string `json:"certificate"`
	Authority    Signer `json:"authority"`
	TLSAuthority string `json:"tlsAuthority"`
}

// Signer is an identity in files.
type Signer struct {
	MSP         string `json:"msp"`
	Certificate string `json:"certificate"`
	Key         string `json:"key"`
}

func request(file string) (Request, *cb.Config, error) {
	asked := Request{}
	raw, err := os.ReadFile(file)
	if err != nil {
		return asked, nil, err
	}
	if err := json.Unmarshal(raw, &asked); err != nil {
		return asked, nil, err
	}
	_, _, envelope, err := load(asked.Block)
	if err != nil {
		return asked, nil, err
	}
	return asked, envelope.Config, nil
}

func update(file string) (any, error) {
	asked, config, err := request(file)
	if err != nil {
		return nil, err
	}
	tx := configtx.New(config)
	for _, change := range asked.Changes {
		if err := apply(&tx, change); err != nil {
			return nil, fmt.Errorf("%s: %w", change.Kind, err)
		}
	}
	raw, err := tx.ComputeMarshaledUpdate(asked.Channel)
	if err != nil {
		return nil, err
	}
	signatures := []*cb.ConfigSignature{}
	var sender *configtx.SigningIdentity
	for _, each := range asked.Signers {
		if sender, err = identity(each); err != nil {
			return nil, err
		}
		signature, err := sender.CreateConfigSignature(raw)
		if err != nil {
			return nil, err
		}
		signatures = append(signatures, signature)
	}
	envelope, err := configtx.NewEnvelope(raw, signatures...)
	if err != nil {
		return nil, err
	}
	if err := sender.SignEnvelope(envelope); err != nil {
		return nil, err
	}
	sent, err := proto.Marshal(envelope)
	if err != nil {
		return nil, err
	}
	return map[string]int{"bytes": len(sent)}, os.WriteFile(asked.Out, sent, 0o600)
}

func apply(tx *configtx.ConfigTx, change Change) error {
	application, ordering := tx.Application(), tx.Orderer()
	switch change.Kind {
	case "batchSize":
		return ordering.BatchSize().SetMaxMessageCount(change.Count)
	case "batchTimeout":
		return ordering.SetBatchTimeout(time.Duration(change.TimeoutMs) * time.Millisecond)
	case "anchorPeer":
		peer := configtx.Address{Host: change.Host, Port: change.Port}
		return application.Organization(change.Name).AddAnchorPeer(peer)
	case "acl":
		return application.SetACLs(map[string]string{change.Name: change.Rule})
	case "policy":
		policy := configtx.Policy{Type: configtx.ImplicitMetaPolicyType, Rule: change.Rule}
		return application.SetPolicy(change.Name, policy)
	case "capability":
		return application.AddCapability(change.Name)
	case "removeOrganisation":
		application.RemoveOrganization(change.Name)
		return nil
	case "addOrganisation":
		added, err := organisation(change)
		if err != nil {
			return err
		}
		return application.SetOrganization(added)
	case "revoke":
		authority, err := identity(change.Authority)
		if err != nil {
			return err
		}
		revoked, err := certificate(change.Certificate)
		if err != nil {
			return err
		}
		msp := application.Organization(change.Name).MSP()
		return msp.AddCRLFromSigningIdentity(authority, revoked)
	}
	return fmt.Errorf("no such change")
}

func organisation(change Change) (configtx.Organization, error) {
	root, err := certificate(change.Authority.Certificate)
	if err != nil {
		return configtx.Organization{}, err
	}
	tls, err := certificate(change.TLSAuthority)
	if err != nil {
		return configtx.Organization{}, err
	}
	unit := func(name string) membership.OUIdentifier {
		return membership.OUIdentifier{Certificate: root, OrganizationalUnitIdentifier: name}
	}
	policy := func(rule string) configtx.Policy {
		return configtx.Policy{Type: configtx.SignaturePolicyType, Rule: rule}
	}
	name := change.Name
	return configtx.Organization{
		Name: name,
		Policies: map[string]configtx.Policy{
			"Readers":     policy("OR('" + name + ".member')"),
			"Writers":     policy("OR('" + name + ".admin', '" + name + ".client')"),
			"Admins":      policy("OR('" + name + ".admin')"),
			"Endorsement": policy("OR('" + name + ".peer')"),
		},
		MSP: configtx.MSP{
			Name:         name,
			RootCerts:    []*x509.Certificate{root},
			TLSRootCerts: []*x509.Certificate{tls},
			NodeOUs: membership.NodeOUs{
				Enable:              true,
				ClientOUIdentifier:  unit("client"),
				PeerOUIdentifier:    unit("peer"),
				AdminOUIdentifier:   unit("admin"),
				OrdererOUIdentifier: unit("orderer"),
			},
		},
		AnchorPeers: []configtx.Address{{Host: change.Host, Port: change.Port}},
	}, nil
}

// compare decodes an update down to the last field, and computes it once more with the library.
func compare(file string) (any, error) {
	asked, config, err := request(file)
	if err != nil {
		return nil, err
	}
	envelope, payload := &cb.Envelope{}, &cb.Payload{}
	agreed, theirs := &cb.ConfigUpdateEnvelope{}, &cb.ConfigUpdate{}
	if err := readInto(asked.Update, envelope); err != nil {
		return nil, err
	}
	if err := protolator.DeepMarshalJSON(io.Discard, envelope); err != nil {
		return nil, fmt.Errorf("decoding the whole update: %w", err)
	}
	if err := proto.Unmarshal(envelope.Payload, payload); err != nil {
		return nil, err
	}
	if err := proto.Unmarshal(payload.Data, agreed); err != nil {
		return nil, err
	}
	if err := proto.Unmarshal(agreed.ConfigUpdate, theirs); err != nil {
		return nil, err
	}
	tx := configtx.New(config)
	if err := readInto(asked.Updated, tx.UpdatedConfig()); err != nil {
		return nil, err
	}
	computed, err := tx.ComputeMarshaledUpdate(asked.Channel)
	if err != nil {
		return nil, err
	}
	ours := &cb.ConfigUpdate{}
	if err := proto.Unmarshal(computed, ours); err != nil {
		return nil, err
	}
	return map[string]any{
		"equal":      proto.Equal(ours, theirs),
		"signatures": len(agreed.Signatures),
	}, nil
}

func readInto(file string, message proto.Message) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return proto.Unmarshal(raw, message)
}

func identity(signer Signer) (*configtx.SigningIdentity, error) {
	found, err := certificate(signer.Certificate)
	if err != nil {
		return nil, err
	}
	raw, err := block(signer.Key)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", signer.Key, err)
	}
	private, ok := key.(crypto.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s holds no private key", signer.Key)
	}
	return &configtx.SigningIdentity{
		Certificate: found, PrivateKey: private, MSPID: signer.MSP,
	}, nil
}

func certificate(file string) (*x509.Certificate, error) {
	raw, err := block(file)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(raw)
}

func block(file string) ([]byte, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	found, _ := pem.Decode(raw)
	if found == nil {
		return nil, fmt.Errorf("%s is not in PEM", file)
	}
	return found.Bytes, nil
}
