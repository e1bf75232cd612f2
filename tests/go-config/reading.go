package main

import (
	"fmt"
	"io"
	"os"
	"sort"
	"strings"

	"github.com/hyperledger/fabric-config/configtx"
	"github.com/hyperledger/fabric-config/protolator"
	cb "github.com/hyperledger/fabric-protos-go-apiv2/common"
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
	if err := protolator.DeepMarshalJSON(io.Discard, block); err != nil {
		return Read{}, fmt.Errorf("decoding the whole block: %w", err)
	}
	found := Read{Number: block.Header.Number, Channel: header.ChannelId}
	found.Sequence = envelope.Config.Sequence
	tx := configtx.New(envelope.Config)
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
	found.Consensus = ordering.OrdererType
	found.Messages = ordering.BatchSize.MaxMessageCount
	found.TimeoutMs = ordering.BatchTimeout.Milliseconds()
	return found, nil
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
