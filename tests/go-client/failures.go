package main

import (
	"errors"
	"regexp"
	"slices"
	"strings"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-protos-go-apiv2/gateway"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const reason = "the reason of the scenario"

var (
	refused  = regexp.MustCompile(`chaincode response 400, .*` + reason)
	withPort = regexp.MustCompile(`:\d+$`)
)

// Errors: each stage's own type with its transaction id, codes of gRPC, and what single peers said.
var failures = map[string]scenario{
	"refusal-of-a-query": func(w *world) {
		_, err := w.contract().EvaluateTransaction("Refuse", reason)
		equal(status.Code(err), codes.Unknown)
		verify(refused.MatchString(err.Error()), "%v", err)
		equal(strings.Join(members(details(err)), " "), w.home)
	},

	"refusal-of-a-transaction": func(w *world) {
		_, err := w.contract().SubmitTransaction("Refuse", reason)
		refusal := endorseError(err)
		equal(status.Code(err), codes.Aborted)
		verify(
			strings.Contains(err.Error(), "failed to endorse transaction, see attached details"),
			"%v", err,
		)
		verify(transactionID.MatchString(refusal.TransactionID), "%s", refusal.TransactionID)
		detail := refusal.Details()[0]
		equal(detail.GetMspId(), w.home)
		verify(withPort.MatchString(detail.GetAddress()), "%s", detail.GetAddress())
		verify(refused.MatchString(detail.GetMessage()), "%s", detail.GetMessage())
	},

	"endorse-error-names-two-peers": func(w *world) {
		for _, organisations := range [][]string{{w.home, w.second}, {w.second, w.third}} {
			_, err := w.contract().Submit(
				"Refuse",
				client.WithArguments(reason),
				client.WithEndorsingOrganizations(organisations...),
			)
			refusal := endorseError(err)
			equal(status.Code(err), codes.Aborted)
			verify(
				strings.Contains(err.Error(), "failed to collect enough transaction endorsements"),
				"%v", err,
			)
			named := members(refusal.Details())
			slices.Sort(named)
			slices.Sort(organisations)
			verify(slices.Equal(named, organisations), "%v", named)
			said := refusal.Details()
			verify(said[0].GetAddress() != said[1].GetAddress(), "one address for both")
			for _, detail := range said {
				verify(refused.MatchString(detail.GetMessage()), "%s", detail.GetMessage())
			}
		}
	},

	"endorse-error-of-an-unknown-organisation": func(w *world) {
		_, err := w.contract().Submit(
			"Put",
			client.WithArguments(w.key("k"), "v"),
			client.WithEndorsingOrganizations(w.home, "NobodyMSP"),
		)
		endorseError(err)
		equal(status.Code(err), codes.Unavailable)
		expected := "failed to find any endorsing peers for org(s): NobodyMSP"
		verify(strings.Contains(err.Error(), expected), "%v", err)
	},

	"unknown-contract": func(w *world) {
		_, err := w.network().GetContract("nobody").SubmitTransaction("Put", "k", "v")
		endorseError(err)
		verify(strings.Contains(words(err), "nobody"), "%v", err)
	},

	"unknown-channel": func(w *world) {
		network := w.gateway(w.home).GetNetwork("elsewhere")
		_, err := network.GetContract(w.settings.Contract).SubmitTransaction("Put", "k", "v")
		endorseError(err)
		verify(strings.Contains(words(err), "elsewhere"), "%v", err)
	},

	"submit-error": func(w *world) {
		contract := w.contract()
		proposal := must(contract.NewProposal("Put", client.WithArguments(w.key("forged"), "x")))
		endorsed := must(proposal.Endorse())
		signature := must(w.user(w.second).sign()(endorsed.Digest()))
		raw := must(endorsed.Bytes())
		forged := must(w.gateway(w.home).NewSignedTransaction(raw, signature))
		_, err := forged.Submit()
		var refusal *client.SubmitError
		verify(errors.As(err, &refusal), "%T %v", err, err)
		equal(status.Code(err), codes.Aborted)
		expected := "unsuccessful response from orderer: status=FORBIDDEN"
		verify(strings.Contains(err.Error(), expected), "%v", err)
		equal(refusal.TransactionID, endorsed.TransactionID())
		equal(w.get("forged"), "")
	},

	"commit-error": func(w *world) {
		_, err := w.contract().Submit(
			"Put",
			client.WithArguments(w.key("endorsed by one"), "x"),
			client.WithEndorsingOrganizations(w.home),
		)
		var invalid *client.CommitError
		verify(errors.As(err, &invalid), "%T %v", err, err)
		equal(invalid.Code, peer.TxValidationCode_ENDORSEMENT_POLICY_FAILURE)
		verify(strings.Contains(err.Error(), "ENDORSEMENT_POLICY_FAILURE"), "%v", err)
		verify(transactionID.MatchString(invalid.TransactionID), "%s", invalid.TransactionID)
	},
}

func endorseError(err error) *client.EndorseError {
	var found *client.EndorseError
	verify(errors.As(err, &found), "no EndorseError but %T: %v", err, err)
	return found
}

// details are what single peers said, of an error of any kind.
func details(err error) []*gateway.ErrorDetail {
	var found []*gateway.ErrorDetail
	for _, each := range status.Convert(err).Details() {
		if detail, ok := each.(*gateway.ErrorDetail); ok {
			found = append(found, detail)
		}
	}
	return found
}

func members(details []*gateway.ErrorDetail) []string {
	var names []string
	for _, each := range details {
		names = append(names, each.GetMspId())
	}
	return names
}

// words of an error and of its details.
func words(err error) string {
	said := err.Error()
	for _, each := range details(err) {
		said += "\n" + each.GetMessage()
	}
	return said
}
