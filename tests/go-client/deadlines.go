package main

import (
	"context"
	"errors"
	"time"

	"github.com/hyperledger/fabric-gateway/pkg/client"
	"github.com/hyperledger/fabric-protos-go-apiv2/peer"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	soon   = 500 * time.Millisecond
	atOnce = 5 * time.Second
)

// Deadlines, and calls and streams that their caller gives up.
var deadlines = map[string]scenario{
	"query-until-a-deadline": func(w *world) {
		proposal := must(w.contract().NewProposal("WhoAmI"))
		_, err := proposal.EvaluateWithContext(expired())
		equal(status.Code(err), codes.DeadlineExceeded)
		text(must(proposal.Evaluate()), w.home)
	},

	"endorse-until-a-deadline": func(w *world) {
		arguments := client.WithArguments(w.key("too late"), "x")
		proposal := must(w.contract().NewProposal("Put", arguments))
		_, err := proposal.EndorseWithContext(expired())
		equal(endorseError(err).TransactionID, proposal.TransactionID())
		equal(status.Code(err), codes.DeadlineExceeded)
		must(proposal.Endorse())
	},

	"submit-until-a-deadline": func(w *world) {
		arguments := client.WithArguments(w.key("submitted too late"), "x")
		transaction := must(must(w.contract().NewProposal("Put", arguments)).Endorse())
		_, err := transaction.SubmitWithContext(expired())
		var late *client.SubmitError
		verify(errors.As(err, &late), "%T %v", err, err)
		equal(late.TransactionID, transaction.TransactionID())
		equal(status.Code(err), codes.DeadlineExceeded)
		equal(must(must(transaction.Submit()).Status()).Code, peer.TxValidationCode_VALID)
	},

	"status-until-a-deadline": func(w *world) {
		transaction, commit := unsubmitted(w, "never")
		limited, cancel := context.WithTimeout(context.Background(), soon)
		defer cancel()
		_, err := commit.StatusWithContext(limited)
		late := commitStatusError(err)
		equal(late.TransactionID, transaction.TransactionID())
		equal(status.Code(err), codes.DeadlineExceeded)
	},

	"events-until-a-deadline": func(w *world) {
		start := client.WithStartBlock(w.nextBlock() + 1000)
		limited, cancel := context.WithTimeout(context.Background(), soon)
		defer cancel()
		stream := must(w.network().ChaincodeEvents(limited, w.settings.Contract, start))
		equal(ends(stream, atOnce), 0)
		isOver(limited)
	},

	"blocks-until-a-deadline": func(w *world) {
		start := client.WithStartBlock(w.nextBlock())
		limited, cancel := context.WithTimeout(context.Background(), soon)
		defer cancel()
		stream := must(w.network().BlockEvents(limited, start))
		equal(ends(stream, atOnce), 0)
		isOver(limited)
	},

	"cancelled-status": func(w *world) {
		transaction, commit := unsubmitted(w, "given up")
		ended := make(chan error, 1)
		call, cancel := cancellable()
		go func() {
			_, err := commit.StatusWithContext(call)
			ended <- err
		}()
		select {
		case err := <-ended:
			fail("it did not wait: %v", err)
		case <-time.After(soon):
		}
		cancel()
		select {
		case err := <-ended:
			equal(commitStatusError(err).TransactionID, transaction.TransactionID())
			equal(status.Code(err), codes.Canceled)
		case <-time.After(atOnce):
			fail("it did not end")
		}
		text(must(w.contract().EvaluateTransaction("WhoAmI")), w.home)
	},

	"cancelled-chaincode-events": func(w *world) {
		last := w.add("given up events", 1)[0]
		call, cancel := cancellable()
		start := client.WithStartBlock(last.BlockNumber)
		stream := must(w.network().ChaincodeEvents(call, w.settings.Contract, start))
		equal((<-stream).TransactionID, last.TransactionID)
		cancel()
		equal(ends(stream, atOnce), 0)
		text(must(w.contract().EvaluateTransaction("WhoAmI")), w.home)
	},

	"cancelled-block-events": func(w *world) {
		last := w.add("given up blocks", 1)[0]
		call, cancel := cancellable()
		start := client.WithStartBlock(last.BlockNumber)
		stream := must(w.network().BlockEvents(call, start))
		equal((<-stream).GetHeader().GetNumber(), last.BlockNumber)
		cancel()
		ends(stream, atOnce)
		text(must(w.contract().EvaluateTransaction("WhoAmI")), w.home)
	},
}

func expired() context.Context {
	call, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	cancel()
	return call
}

// isOver checks that a deadline has come: gRPC may end a stream a moment before the context's timer.
func isOver(limited context.Context) {
	end, _ := limited.Deadline()
	verify(time.Until(end) < soon/5, "it ended %s before the deadline", time.Until(end))
}

func commitStatusError(err error) *client.CommitStatusError {
	var found *client.CommitStatusError
	verify(errors.As(err, &found), "no CommitStatusError but %T: %v", err, err)
	return found
}
