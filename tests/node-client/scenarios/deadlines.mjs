// Deadlines, and calls and streams that their caller gives up.

import * as grpc from '@grpc/grpc-js';
import {
    CommitStatusError,
    EndorseError,
    GatewayError,
    StatusCode,
} from '@hyperledger/fabric-gateway';
import assert from 'node:assert/strict';
import { setTimeout } from 'node:timers/promises';
import { ends, rejection, takeUntil, UTF8 } from '../world.mjs';

const SOON_MS = 500;
const AT_ONCE_MS = 5_000;

const expired = () => ({ deadline: Date.now() - 1 });
const soon = () => ({ deadline: Date.now() + SOON_MS });

async function serves(world) {
    const contract = await world.contract();
    assert.equal(UTF8.decode(await contract.evaluateTransaction('WhoAmI')), world.home);
}

/** A closed stream has nothing more; whoever reads on is told by this client that it was cancelled. */
async function isGivenUp(stream) {
    const { count, error } = await ends(stream, AT_ONCE_MS);
    assert.equal(count, 0);
    assert.equal(error?.code ?? grpc.status.CANCELLED, grpc.status.CANCELLED);
}

/** Options of a call, and what cancels it: this client leaves that to gRPC's interceptors. */
function cancellable() {
    const calls = [];
    const interceptor = (options, nextCall) => {
        const call = nextCall(options);
        calls.push(call);
        return new grpc.InterceptingCall(call);
    };
    const cancel = () => {
        for (const call of calls) {
            call.cancelWithStatus(grpc.status.CANCELLED, 'given up');
        }
    };
    return { options: { interceptors: [interceptor] }, cancel };
}

export default {
    async 'query-until-a-deadline'(world) {
        const contract = await world.contract();
        const proposal = contract.newProposal('WhoAmI');
        const error = await rejection(proposal.evaluate(expired()));
        assert.ok(error instanceof GatewayError, error.stack);
        assert.equal(error.code, grpc.status.DEADLINE_EXCEEDED);
        assert.equal(UTF8.decode(await proposal.evaluate()), world.home, 'and works with time');
    },

    async 'endorse-until-a-deadline'(world) {
        const contract = await world.contract();
        const proposal = contract.newProposal('Put', { arguments: [world.key('too late'), 'x'] });
        const error = await rejection(proposal.endorse(expired()));
        assert.ok(error instanceof EndorseError, error.stack);
        assert.equal(error.code, grpc.status.DEADLINE_EXCEEDED);
        assert.equal(error.transactionId, proposal.getTransactionId());
        await proposal.endorse();
    },

    async 'submit-until-a-deadline'(world) {
        const contract = await world.contract();
        const options = { arguments: [world.key('submitted too late'), 'x'] };
        const transaction = await contract.newProposal('Put', options).endorse();
        const error = await rejection(transaction.submit(expired()));
        // The package exports this class as a type only.
        assert.equal(error.constructor.name, 'SubmitError', error.stack);
        assert.equal(error.code, grpc.status.DEADLINE_EXCEEDED);
        assert.equal(error.transactionId, transaction.getTransactionId());
        const status = await (await transaction.submit()).getStatus();
        assert.equal(status.code, StatusCode.VALID);
    },

    async 'status-until-a-deadline'(world) {
        const { late, commit } = await world.unsubmitted('never');
        const error = await rejection(commit.getStatus(soon()));
        assert.ok(error instanceof CommitStatusError, error.stack);
        assert.equal(error.code, grpc.status.DEADLINE_EXCEEDED);
        assert.equal(error.transactionId, late.getTransactionId());
    },

    async 'events-until-a-deadline'(world) {
        const startBlock = (await world.nextBlock()) + 1000n;
        const network = await world.network();
        const request = network.newChaincodeEventsRequest(world.settings.contract, { startBlock });
        const error = await rejection(takeUntil(await request.getEvents(soon()), () => true));
        assert.equal(error.constructor.name, 'GatewayError');
        assert.equal(error.code, grpc.status.DEADLINE_EXCEEDED, error.message);
    },

    async 'blocks-until-a-deadline'(world) {
        const startBlock = await world.nextBlock();
        const request = (await world.network()).newBlockEventsRequest({ startBlock });
        const error = await rejection(takeUntil(await request.getEvents(soon()), () => true));
        assert.equal(error.constructor.name, 'GatewayError');
        assert.equal(error.code, grpc.status.DEADLINE_EXCEEDED, error.message);
    },

    async 'cancelled-status'(world) {
        const { late, commit } = await world.unsubmitted('given up');
        const { options, cancel } = cancellable();
        let ended = false;
        const asked = rejection(commit.getStatus(options)).finally(() => (ended = true));
        await setTimeout(SOON_MS);
        assert.ok(!ended, 'it should wait');
        cancel();
        const error = await Promise.race([asked, setTimeout(AT_ONCE_MS, 'it did not end')]);
        assert.ok(error instanceof CommitStatusError, error.stack ?? error);
        assert.equal(error.code, grpc.status.CANCELLED);
        assert.equal(error.transactionId, late.getTransactionId());
        await serves(world);
    },

    async 'cancelled-chaincode-events'(world) {
        const [{ blockNumber, transactionId }] = await world.add('given up events', 1);
        const network = await world.network();
        const stream = await network.getChaincodeEvents(world.settings.contract, {
            startBlock: blockNumber,
        });
        const [event] = await takeUntil(stream, () => true);
        assert.equal(event.transactionId, transactionId);
        await isGivenUp(stream);
        await serves(world);
    },

    async 'cancelled-block-events'(world) {
        const startBlock = (await world.nextBlock()) - 1n;
        const stream = await (await world.network()).getBlockEvents({ startBlock });
        const [block] = await takeUntil(stream, () => true);
        assert.equal(BigInt(block.getHeader().getNumber()), startBlock);
        await isGivenUp(stream);
        await serves(world);
    },
};
