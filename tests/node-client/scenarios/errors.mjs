// Errors: each stage's own type with its transaction id, codes of gRPC, and what single peers said.

import * as grpc from '@grpc/grpc-js';
import {
    CommitError,
    EndorseError,
    GatewayError,
    StatusCode,
} from '@hyperledger/fabric-gateway';
import assert from 'node:assert/strict';
import { newSigner } from '../member.mjs';
import { rejection } from '../world.mjs';

const REASON = 'the reason of the scenario';
const REFUSED = new RegExp(`chaincode response 400, .*${REASON}`);

export default {
    async 'refusal-of-a-query'(world) {
        const contract = await world.contract();
        const error = await rejection(contract.evaluateTransaction('Refuse', REASON));
        assert.ok(error instanceof GatewayError, error.stack);
        assert.equal(error.code, grpc.status.UNKNOWN);
        assert.match(error.message, REFUSED);
        assert.deepEqual(error.details.map((each) => each.mspId), [world.home]);
    },

    async 'refusal-of-a-transaction'(world) {
        const contract = await world.contract();
        const error = await rejection(contract.submitTransaction('Refuse', REASON));
        assert.ok(error instanceof EndorseError, error.stack);
        assert.equal(error.code, grpc.status.ABORTED);
        assert.match(error.message, /failed to endorse transaction, see attached details/);
        assert.match(error.transactionId, /^[0-9a-f]{64}$/);
        const [detail] = error.details;
        assert.equal(detail.mspId, world.home);
        assert.match(detail.address, /:\d+$/);
        assert.match(detail.message, REFUSED);
    },

    async 'endorse-error-names-two-peers'(world) {
        const contract = await world.contract();
        for (const organisations of [
            [world.home, world.second],
            [world.second, world.third],
        ]) {
            const error = await rejection(
                contract.submit('Refuse', {
                    arguments: [REASON],
                    endorsingOrganizations: organisations,
                }),
            );
            assert.ok(error instanceof EndorseError, error.stack);
            assert.equal(error.code, grpc.status.ABORTED);
            assert.match(error.message, /failed to collect enough transaction endorsements/);
            const members = error.details.map((each) => each.mspId);
            assert.deepEqual(members.sort(), [...organisations].sort());
            assert.equal(new Set(error.details.map((each) => each.address)).size, 2);
            for (const detail of error.details) {
                assert.match(detail.message, REFUSED);
            }
        }
    },

    async 'endorse-error-of-an-unknown-organisation'(world) {
        const contract = await world.contract();
        const error = await rejection(
            contract.submit('Put', {
                arguments: [world.key('k'), 'v'],
                endorsingOrganizations: [world.home, 'NobodyMSP'],
            }),
        );
        assert.ok(error instanceof EndorseError, error.stack);
        assert.equal(error.code, grpc.status.UNAVAILABLE);
        assert.match(error.message, /failed to find any endorsing peers for org\(s\): NobodyMSP/);
    },

    async 'unknown-contract'(world) {
        const network = await world.network();
        const contract = network.getContract('nobody');
        const error = await rejection(contract.submitTransaction('Put', 'k', 'v'));
        assert.ok(error instanceof EndorseError, error.stack);
        const words = [error.message, ...error.details.map((each) => each.message)];
        assert.match(words.join(), /nobody/);
    },

    async 'unknown-channel'(world) {
        const gateway = await world.gateway();
        const contract = gateway.getNetwork('elsewhere').getContract(world.settings.contract);
        const error = await rejection(contract.submitTransaction('Put', 'k', 'v'));
        assert.ok(error instanceof EndorseError, error.stack);
        assert.match(error.message, /elsewhere/);
    },

    async 'submit-error'(world) {
        const gateway = await world.gateway();
        const contract = await world.contract();
        const proposal = contract.newProposal('Put', { arguments: [world.key('forged'), 'x'] });
        const endorsed = await proposal.endorse();
        const stranger = newSigner(await world.member(world.second));
        const signature = await stranger(endorsed.getDigest());
        const forged = gateway.newSignedTransaction(endorsed.getBytes(), signature);
        const error = await rejection(forged.submit());
        // The package exports this class as a type only.
        assert.equal(error.constructor.name, 'SubmitError', error.stack);
        assert.ok(error instanceof GatewayError);
        assert.equal(error.code, grpc.status.ABORTED);
        assert.match(error.message, /unsuccessful response from orderer: status=FORBIDDEN/);
        assert.equal(error.transactionId, endorsed.getTransactionId());
        assert.equal(await world.get('forged'), '');
    },

    async 'commit-error'(world) {
        const contract = await world.contract();
        const error = await rejection(
            contract.submit('Put', {
                arguments: [world.key('endorsed by one'), 'x'],
                endorsingOrganizations: [world.home],
            }),
        );
        assert.ok(error instanceof CommitError, error.stack);
        assert.equal(error.code, StatusCode.ENDORSEMENT_POLICY_FAILURE);
        assert.match(error.message, /ENDORSEMENT_POLICY_FAILURE/);
        assert.match(error.transactionId, /^[0-9a-f]{64}$/);
    },
};
