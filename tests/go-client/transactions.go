package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

var transactionID = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Transactions: evaluate, submit, submitAsync, commit status, endorsing organisations, transient data.
var transactions = map[string]scenario{
	"evaluate": func(w *world) {
		contract := w.contract()
		text(must(contract.EvaluateTransaction("Get", w.key("nowhere"))), "")
		text(must(contract.Evaluate("WhoAmI")), w.home)
		asBytes := client.WithBytesArguments([]byte(w.key("nowhere")))
		text(must(contract.Evaluate("Get", asBytes)), "")
	},

	"evaluate-does-not-write": func(w *world) {
		text(must(w.contract().EvaluateTransaction("Add", w.key("evaluated"), "5")), "5")
		equal(w.get("evaluated"), "")
	},

	"evaluate-at-an-organisation": func(w *world) {
		contract := w.contract()
		at := client.WithEndorsingOrganizations(w.third)
		text(must(contract.Evaluate("WhoAmI", at)), w.home)
		_, err := contract.Evaluate("WhoAmI", client.WithEndorsingOrganizations("NobodyMSP"))
		equal(status.Code(err), codes.FailedPrecondition)
		expected := "no peers available to evaluate chaincode"
		verify(strings.Contains(err.Error(), expected), "%v", err)
	},

	"submit": func(w *world) {
		contract := w.contract()
		text(must(contract.SubmitTransaction("Add", w.key("submitted"), "3")), "3")
		asBytes := client.WithBytesArguments([]byte(w.key("submitted")), []byte("4"))
		text(must(contract.Submit("Add", asBytes)), "7")
		equal(w.get("submitted"), "7")
	},

	"submit-without-a-result": func(w *world) {
		text(must(w.contract().SubmitTransaction("Put", w.key("put"), "value")), "")
		equal(w.get("put"), "value")
	},

	"large-value": func(w *world) {
		value := strings.Repeat("قسط ادا ہو گئی. ", 40_000)
		verify(len(value) > 1_000_000, "it should be large")
		must(w.contract().SubmitTransaction("Put", w.key("large"), value))
		verify(w.get("large") == value, "another value came back")
	},

	"submit-async": func(w *world) {
		arguments := client.WithArguments(w.key("async"), "2")
		result, commit, err := w.contract().SubmitAsync("Add", arguments)
		succeed(err)
		text(result, "2")
		verify(transactionID.MatchString(commit.TransactionID()), "%s", commit.TransactionID())
		status := must(commit.Status())
		equal(status.Code, peer.TxValidationCode_VALID)
		equal(status.Successful, true)
		equal(status.TransactionID, commit.TransactionID())
		equal(w.get("async"), "2")
	},

	"submit-through-each-member": func(w *world) {
		for index, each := range w.settings.Members {
			contract := w.contractOf(w.gateway(each.MSPID))
			number := strconv.Itoa(index)
			text(must(contract.SubmitTransaction("Add", w.key("through-"+each.MSPID), number)), number)
			text(must(contract.EvaluateTransaction("WhoAmI")), each.MSPID)
		}
	},

	"submit-many-at-once": func(w *world) {
		contract := w.contract()
		errors := make([]error, 40)
		var all sync.WaitGroup
		for index := range errors {
			all.Add(1)
			go func() {
				defer all.Done()
				number := strconv.Itoa(index + 1)
				total, err := contract.SubmitTransaction("Add", w.key("many-"+number), number)
				if err == nil && string(total) != number {
					err = fmt.Errorf("%s became %s", number, total)
				}
				errors[index] = err
			}()
		}
		all.Wait()
		for _, err := range errors {
			succeed(err)
		}
	},

	"status-of-a-valid-transaction": func(w *world) {
		_, commit, err := w.contract().SubmitAsync("Put", client.WithArguments(w.key("valid"), "yes"))
		succeed(err)
		once := must(commit.Status())
		equal(once.Code, peer.TxValidationCode_VALID)
		equal(*must(commit.Status()), *once)
	},

	"status-of-a-conflict": func(w *world) {
		statuses := w.conflict("conflict")
		equal(statuses[0].Code, peer.TxValidationCode_VALID)
		equal(statuses[1].Code, peer.TxValidationCode_MVCC_READ_CONFLICT)
		equal(statuses[1].Successful, false)
		verify(statuses[1].BlockNumber >= statuses[0].BlockNumber, "%v", statuses)
		equal(w.get("conflict"), "1")
	},

	"status-of-an-endorsement-failure": func(w *world) {
		_, commit, err := w.contract().SubmitAsync(
			"Put",
			client.WithArguments(w.key("by one"), "x"),
			client.WithEndorsingOrganizations(w.home),
		)
		succeed(err)
		status := must(commit.Status())
		equal(status.Code, peer.TxValidationCode_ENDORSEMENT_POLICY_FAILURE)
		equal(status.Successful, false)
		verify(status.BlockNumber > 0, "it stands in a block")
		equal(w.get("by one"), "")
	},

	"status-asked-before-the-submit": func(w *world) {
		late, commit := unsubmitted(w, "late")
		answers := make(chan *client.Status, 1)
		failures := make(chan error, 1)
		go func() {
			status, err := commit.Status()
			answers <- status
			failures <- err
		}()
		must(late.Submit())
		status := <-answers
		succeed(<-failures)
		equal(status.Code, peer.TxValidationCode_VALID)
		equal(status.TransactionID, late.TransactionID())
	},

	"endorsing-organisations": func(w *world) {
		organisations := []string{w.second, w.third}
		proposal := must(w.contract().NewProposal(
			"Put",
			client.WithArguments(w.key("endorsed"), "by two others"),
			client.WithEndorsingOrganizations(organisations...),
		))
		transaction := must(proposal.Endorse())
		raw := must(transaction.Bytes())
		for _, each := range w.settings.Members {
			// The first member is the creator; any other one is named only by its endorsement.
			expected := each.MSPID == w.home || slices.Contains(organisations, each.MSPID)
			verify(bytes.Contains(raw, []byte(each.MSPID)) == expected, "%s", each.MSPID)
		}
		equal(must(must(transaction.Submit()).Status()).Code, peer.TxValidationCode_VALID)
	},

	"transient-data": func(w *world) {
		secret := make([]byte, 32)
		must(rand.Read(secret))
		digest := hexDigest(secret)
		proposal := must(w.contract().NewProposal(
			"KeepDigest",
			client.WithArguments(w.key("transient")),
			client.WithTransient(map[string][]byte{"secret": secret}),
			client.WithEndorsingOrganizations(w.home, w.second),
		))
		verify(bytes.Contains(must(proposal.Bytes()), secret), "the proposal carries it")
		transaction := must(proposal.Endorse())
		text(transaction.Result(), digest)
		verify(!bytes.Contains(must(transaction.Bytes()), secret), "the transaction does not")
		status := must(must(transaction.Submit()).Status())
		verify(status.Successful, "code %s", status.Code)
		context, cancel := cancellable()
		start := client.WithStartBlock(status.BlockNumber)
		blocks := must(w.network().BlockEvents(context, start))
		raw := must(proto.Marshal(takeUntil(blocks, cancel, first)[0]))
		verify(bytes.Contains(raw, []byte(digest)), "the block has the digest")
		verify(!bytes.Contains(raw, secret), "and not the secret")
	},

	"transient-data-of-a-query": func(w *world) {
		answer := must(w.contract().Evaluate(
			"KeepDigest",
			client.WithArguments(w.key("nothing")),
			client.WithTransient(map[string][]byte{"secret": []byte("text")}),
		))
		text(answer, hexDigest([]byte("text")))
	},
}

func hexDigest(content []byte) string {
	digest := sha256.Sum256(content)
	return hex.EncodeToString(digest[:])
}

// unsubmitted returns an endorsed transaction that is not submitted, and the question for its status,
// made of that of another transaction, in which the id is replaced.
func unsubmitted(w *world, name string) (*client.Transaction, *client.Commit) {
	contract := w.contract()
	proposal := must(contract.NewProposal("Put", client.WithArguments(w.key(name), "x")))
	late := must(proposal.Endorse())
	_, other, err := contract.SubmitAsync("Put", client.WithArguments(w.key(name+", first"), "x"))
	succeed(err)
	raw := must(other.Bytes())
	raw = bytes.ReplaceAll(raw, []byte(other.TransactionID()), []byte(late.TransactionID()))
	return late, must(w.gateway(w.home).NewCommit(raw))
}
