package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/asn1"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-protos-go-apiv2/common"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc"
)

// Events: of the contract, of blocks, filtered blocks and blocks with private data.
var events = map[string]scenario{
	"chaincode-events-from-a-block": func(w *world) {
		statuses := w.add("heard", 3)
		context, cancel := cancellable()
		start := client.WithStartBlock(statuses[0].BlockNumber)
		stream := must(w.network().ChaincodeEvents(context, w.settings.Contract, start))
		taken := takeUntil(stream, cancel, func(all []*client.ChaincodeEvent) bool {
			return len(all) == 3
		})
		for index, event := range taken {
			equal(event.BlockNumber, statuses[index].BlockNumber)
			equal(event.TransactionID, statuses[index].TransactionID)
			text(event.Payload, []string{"1", "2", "3"}[index])
			equal(event.EventName, "Added")
			equal(event.ChaincodeName, w.settings.Contract)
		}
	},

	"chaincode-events-from-now": func(w *world) {
		context, cancel := cancellable()
		stream := must(w.network().ChaincodeEvents(context, w.settings.Contract))
		heard := make(chan *client.ChaincodeEvent, 1)
		go func() {
			heard <- <-stream
			cancel()
		}()
		// The client says nothing when the stream stands; so it is told again until it hears.
		var ids []string
		for {
			select {
			case event := <-heard:
				verify(event != nil, "the stream ended")
				verify(slices.Contains(ids, event.TransactionID), "an event of before")
				return
			default:
				ids = append(ids, w.add("now", 1)[0].TransactionID)
			}
		}
	},

	"chaincode-events-of-valid-transactions-only": func(w *world) {
		statuses := w.conflict("only valid")
		last := w.add("after the conflict", 1)[0].TransactionID
		context, cancel := cancellable()
		start := client.WithStartBlock(statuses[0].BlockNumber)
		stream := must(w.network().ChaincodeEvents(context, w.settings.Contract, start))
		taken := takeUntil(stream, cancel, func(all []*client.ChaincodeEvent) bool {
			return all[len(all)-1].TransactionID == last
		})
		equal(len(taken), 2)
		equal(taken[0].TransactionID, statuses[0].TransactionID)
	},

	"chaincode-events-from-a-checkpoint": func(w *world) {
		statuses := w.add("checkpoint", 4)
		file := newFile()
		defer os.RemoveAll(filepath.Dir(file))
		var heard []string
		// Two runs of a listener, each with a connection and a reading of the file of its own.
		for range 2 {
			heard = append(heard, listen(w, w.home, file, statuses[0].BlockNumber, 2)...)
		}
		equalIDs(heard, statuses)
	},

	"chaincode-events-after-a-restart": func(w *world) {
		other := w.settings.Restart.MSPID
		statuses := w.add("restart", 2)
		file := newFile()
		defer os.RemoveAll(filepath.Dir(file))
		heard := listen(w, other, file, statuses[0].BlockNumber, 1)

		// A stream that is open when the peer stops must end.
		m := w.user(other)
		connection := newConnection(m.address, m.tlsAuthority)
		defer connection.Close()
		gateway := m.open(connection)
		defer gateway.Close()
		context, cancel := cancellable()
		defer cancel()
		network := gateway.GetNetwork(w.settings.Channel)
		start := client.WithStartBlock(statuses[0].BlockNumber)
		open := must(network.ChaincodeEvents(context, w.settings.Contract, start))
		equal((<-open).TransactionID, statuses[0].TransactionID)

		command(w.settings.Restart.Stop)
		ends(open, 10*time.Second)
		statuses = append(statuses, w.add("restart", 2)...)
		command(w.settings.Restart.Start)
		heard = append(heard, listen(w, other, file, statuses[0].BlockNumber, 3)...)
		equalIDs(heard, statuses)
		connection.ResetConnectBackoff()
		again := must(w.contractOf(gateway).NewProposal("WhoAmI"))
		text(must(again.Evaluate(grpc.WaitForReady(true))), other)
	},

	"block-events": func(w *world) {
		status := w.add("in a block", 1)[0]
		context, cancel := cancellable()
		start := client.WithStartBlock(w.settings.FirstBlock)
		stream := must(w.network().BlockEvents(context, start))
		blocks := takeUntil(stream, cancel, func(all []*common.Block) bool {
			return all[len(all)-1].GetHeader().GetNumber() == status.BlockNumber
		})
		for index, block := range blocks {
			header := block.GetHeader()
			equal(header.GetNumber(), w.settings.FirstBlock+uint64(index))
			data := sha256.Sum256(bytes.Join(block.GetData().GetData(), nil))
			verify(bytes.Equal(header.GetDataHash(), data[:]), "data hash of %d", header.GetNumber())
			if index > 0 {
				before := headerHash(blocks[index-1].GetHeader())
				verify(bytes.Equal(header.GetPreviousHash(), before), "before %d", header.GetNumber())
			}
		}
		last := blocks[len(blocks)-1].GetData().GetData()
		verify(slices.ContainsFunc(last, func(each []byte) bool {
			return bytes.Contains(each, []byte(status.TransactionID))
		}), "the transaction stands in its block")
	},

	"block-events-from-a-checkpoint": func(w *world) {
		statuses := w.add("blocks from a checkpoint", 2)
		checkpoint := &client.InMemoryCheckpointer{}
		checkpoint.CheckpointBlock(statuses[0].BlockNumber)
		context, cancel := cancellable()
		stream := must(w.network().FilteredBlockEvents(
			context, client.WithStartBlock(0), client.WithCheckpoint(checkpoint),
		))
		equal(takeUntil(stream, cancel, first)[0].GetNumber(), statuses[0].BlockNumber+1)
	},

	"filtered-block-events": func(w *world) {
		statuses := w.conflict("filtered")
		context, cancel := cancellable()
		start := client.WithStartBlock(statuses[0].BlockNumber)
		stream := must(w.network().FilteredBlockEvents(context, start))
		blocks := takeUntil(stream, cancel, func(all []*peer.FilteredBlock) bool {
			return all[len(all)-1].GetNumber() == statuses[1].BlockNumber
		})
		codes := map[string]peer.TxValidationCode{}
		for _, block := range blocks {
			equal(block.GetChannelId(), w.settings.Channel)
			for _, each := range block.GetFilteredTransactions() {
				codes[each.GetTxid()] = each.GetTxValidationCode()
				for _, action := range each.GetTransactionActions().GetChaincodeActions() {
					equal(len(action.GetChaincodeEvent().GetPayload()), 0)
				}
			}
		}
		equal(codes[statuses[0].TransactionID], peer.TxValidationCode_VALID)
		equal(codes[statuses[1].TransactionID], peer.TxValidationCode_MVCC_READ_CONFLICT)
	},

	"events-of-an-unknown-channel": func(w *world) {
		network := w.gateway(w.home).GetNetwork("elsewhere")
		context, cancel := cancellable()
		defer cancel()
		start := client.WithStartBlock(0)
		heard := must(network.ChaincodeEvents(context, w.settings.Contract, start))
		equal(ends(heard, 10*time.Second), 0)
		blocks := must(network.BlockEvents(context, start))
		equal(ends(blocks, 10*time.Second), 0)
	},
}

func newFile() string {
	return filepath.Join(must(os.MkdirTemp("", "checkpoint-")), "listener.json")
}

// listen takes some events at a member's gateway, from the file's checkpoint on, and returns their ids.
func listen(w *world, mspID, file string, startBlock uint64, count int) []string {
	checkpoint := must(client.NewFileCheckpointer(file))
	defer checkpoint.Close()
	m := w.user(mspID)
	connection := newConnection(m.address, m.tlsAuthority)
	defer connection.Close()
	gateway := m.open(connection)
	defer gateway.Close()
	context, cancel := cancellable()
	stream := must(gateway.GetNetwork(w.settings.Channel).ChaincodeEvents(
		context,
		w.settings.Contract,
		client.WithStartBlock(startBlock),
		client.WithCheckpoint(checkpoint),
	))
	taken := takeUntil(stream, cancel, func(all []*client.ChaincodeEvent) bool {
		return len(all) == count
	})
	succeed(checkpoint.CheckpointChaincodeEvent(taken[count-1]))
	var ids []string
	for _, each := range taken {
		ids = append(ids, each.TransactionID)
	}
	return ids
}

func equalIDs(heard []string, statuses []*client.Status) {
	equal(len(heard), len(statuses))
	for index, each := range statuses {
		equal(heard[index], each.TransactionID)
	}
}

func command(words []string) {
	said, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	verify(err == nil, "%v failed: %v\n%s", words, err, said)
}

// headerHash is Fabric's: SHA-256 of the DER of number, previous hash and data hash.
func headerHash(header *common.BlockHeader) []byte {
	der := must(asn1.Marshal(struct {
		Number       *big.Int
		PreviousHash []byte
		DataHash     []byte
	}{new(big.Int).SetUint64(header.GetNumber()), header.GetPreviousHash(), header.GetDataHash()}))
	digest := sha256.Sum256(der)
	return digest[:]
}
