package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"sort"
	"strings"

	"github.com/hyperledger/fabric-config/configtx"
	"github.com/hyperledger/fabric-config/protolator"
	cb "github.com/hyperledger/fabric-protos-go-apiv2/common"
	ob "github.com/hyperledger/fabric-protos-go-apiv2/orderer"
	"google.golang.org/protobuf/proto"
)

// Read is what the library finds in one configuration block.
type Read struct {
	Number       uint64            `json:"number"`
	Channel      string            `json:"channel"`
	Sequence     uint64            `json:"sequence"`
	Capabilities []string          `json:"capabilities"`
	Members      map[string]Member `json:"members"`
	Orderers     map[string]Member `json:"orderers"`
	Policies     map[string]string `json:"policies"`
	ACLs         map[string]string `json:"acls"`
	Consensus    string            `json:"consensus"`
	Messages     uint32            `json:"messages"`
	TimeoutMs    int64             `json:"timeoutMs"`
	Consenters   []Consenter       `json:"consenters"`
}

// Consenter is what the library's messages say of one that orders with others.
type Consenter struct {
	ID      uint32 `json:"id"`
	MSP     string `json:"msp"`
	Address string `json:"address"`
	Voting  string `json:"voting"`
	Link    string `json:"link"`
}

// Member is what the library finds of an organisation.
type Member struct {
	MSP       string            `json:"msp"`
	Anchors   []string          `json:"anchors"`
	Endpoints []string          `json:"endpoints"`
	Revoked   int               `json:"revoked"`
	Policies  map[string]string `json:"policies"`
}

func readAll(files []string) ([]Read, error) {
	found := []Read{}
	for _, file := range files {
		read, err := read(file)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		found = append(found, read)
	}
	return found, nil
}

func read(file string) (Read, error) {
	block, header, envelope, err := load(file)
	if err != nil {
		return Read{}, err
	}
	// Everything down to the last certificate must decode, not only what is printed here.
	var written bytes.Buffer
	if err := protolator.DeepMarshalJSON(&written, block); err != nil {
		return Read{}, fmt.Errorf("decoding the whole block: %w", err)
	}
	consenters, err := consentersKept(envelope.Config, &written)
	if err != nil {
		return Read{}, fmt.Errorf("consenters: %w", err)
	}
	found := Read{Number: block.Header.Number, Channel: header.ChannelId}
	found.Sequence = envelope.Config.Sequence
	found.Consenters = consenters
	known, consensus, err := withKnownEngine(envelope.Config)
	if err != nil {
		return Read{}, err
	}
	tx := configtx.New(known)
	channel, err := tx.Channel().Configuration()
	if err != nil {
		return Read{}, fmt.Errorf("channel: %w", err)
	}
	found.Capabilities = channel.Capabilities
	sort.Strings(found.Capabilities)
	found.Policies = rules(channel.Policies)
	application, err := tx.Application().Configuration()
	if err != nil {
		return Read{}, fmt.Errorf("application: %w", err)
	}
	found.Members = members(application.Organizations)
	found.ACLs = application.ACLs
	ordering, err := tx.Orderer().Configuration()
	if err != nil {
		return Read{}, fmt.Errorf("orderer: %w", err)
	}
	found.Orderers = members(ordering.Organizations)
	found.Consensus = consensus
	found.Messages = ordering.BatchSize.MaxMessageCount
	found.TimeoutMs = ordering.BatchTimeout.Milliseconds()
	return found, nil
}

// withKnownEngine returns a configuration that is the same but for the name of its engine, which the
// library looks up in a list of its own, and that name.
func withKnownEngine(config *cb.Config) (*cb.Config, string, error) {
	known := proto.Clone(config).(*cb.Config)
	value := known.ChannelGroup.Groups["Orderer"].Values["ConsensusType"]
	consensus := &ob.ConsensusType{}
	if err := proto.Unmarshal(value.Value, consensus); err != nil {
		return nil, "", fmt.Errorf("consensus type: %w", err)
	}
	name := consensus.Type
	if name == "cometbft" {
		consensus.Type = "solo"
	}
	raw, err := proto.Marshal(consensus)
	value.Value = raw
	return known, name, err
}

// consentersKept reads the consenters, and checks that they come back the same from JSON, as those
// who change a configuration by hand have it.
func consentersKept(config *cb.Config, written *bytes.Buffer) ([]Consenter, error) {
	again, envelope, payload := &cb.Block{}, &cb.Envelope{}, &cb.Payload{}
	read := &cb.ConfigEnvelope{}
	if err := protolator.DeepUnmarshalJSON(written, again); err != nil {
		return nil, fmt.Errorf("reading back: %w", err)
	}
	if err := proto.Unmarshal(again.Data.Data[0], envelope); err != nil {
		return nil, err
	}
	if err := proto.Unmarshal(envelope.Payload, payload); err != nil {
		return nil, err
	}
	if err := proto.Unmarshal(payload.Data, read); err != nil {
		return nil, err
	}
	before, err := orderers(config)
	if err != nil {
		return nil, err
	}
	after, err := orderers(read.Config)
	if err != nil {
		return nil, err
	}
	if !proto.Equal(before, after) {
		return nil, fmt.Errorf("they come back from JSON otherwise than they went")
	}
	found := []Consenter{}
	for _, each := range before.ConsenterMapping {
		voting, err := key(each.Identity)
		if err != nil {
			return nil, err
		}
		link, err := key(each.ServerTlsCert)
		if err != nil {
			return nil, err
		}
		address := fmt.Sprintf("%s:%d", each.Host, each.Port)
		found = append(found, Consenter{each.Id, each.MspId, address, voting, link})
	}
	return found, nil
}

func orderers(config *cb.Config) (*cb.Orderers, error) {
	found := &cb.Orderers{}
	value, ok := config.ChannelGroup.Groups["Orderer"].Values["Orderers"]
	if !ok {
		return found, nil
	}
	return found, proto.Unmarshal(value.Value, found)
}

func key(certificate []byte) (string, error) {
	block, _ := pem.Decode(certificate)
	if block == nil {
		return "", fmt.Errorf("no PEM")
	}
	parsed, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", err
	}
	public, ok := parsed.PublicKey.(ed25519.PublicKey)
	if !ok {
		return "", fmt.Errorf("a key of type %T", parsed.PublicKey)
	}
	return hex.EncodeToString(public), nil
}

func load(file string) (*cb.Block, *cb.ChannelHeader, *cb.ConfigEnvelope, error) {
	block, envelope, payload := &cb.Block{}, &cb.Envelope{}, &cb.Payload{}
	header, config := &cb.ChannelHeader{}, &cb.ConfigEnvelope{}
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := proto.Unmarshal(raw, block); err != nil {
		return nil, nil, nil, fmt.Errorf("block: %w", err)
	}
	if len(block.Data.GetData()) != 1 {
		return nil, nil, nil, fmt.Errorf("not one envelope in the block")
	}
	if err := proto.Unmarshal(block.Data.Data[0], envelope); err != nil {
		return nil, nil, nil, fmt.Errorf("envelope: %w", err)
	}
	if err := proto.Unmarshal(envelope.Payload, payload); err != nil {
		return nil, nil, nil, fmt.Errorf("payload: %w", err)
	}
	if err := proto.Unmarshal(payload.GetHeader().GetChannelHeader(), header); err != nil {
		return nil, nil, nil, fmt.Errorf("header: %w", err)
	}
	if err := proto.Unmarshal(payload.Data, config); err != nil {
		return nil, nil, nil, fmt.Errorf("configuration: %w", err)
	}
	return block, header, config, nil
}

func members(organisations []configtx.Organization) map[string]Member {
	found := map[string]Member{}
	for _, each := range organisations {
		member := Member{
			MSP:       each.MSP.Name,
			Anchors:   []string{},
			Endpoints: each.OrdererEndpoints,
			Policies:  rules(each.Policies),
		}
		for _, anchor := range each.AnchorPeers {
			member.Anchors = append(member.Anchors, fmt.Sprintf("%s:%d", anchor.Host, anchor.Port))
		}
		for _, list := range each.MSP.RevocationList {
			member.Revoked += len(list.TBSCertList.RevokedCertificates)
		}
		found[each.Name] = member
	}
	return found
}

func rules(policies map[string]configtx.Policy) map[string]string {
	found := map[string]string{}
	for name, policy := range policies {
		found[name] = strings.TrimSpace(policy.Type + " " + policy.Rule)
	}
	return found
}
