// Transactions: evaluate, submit, submitAsync, commit status, endorsing organisations, transient data.

import * as grpc from '@grpc/grpc-js';
import { StatusCode } from '@hyperledger/fabric-gateway';
import assert from 'node:assert/strict';
import * as crypto from 'node:crypto';
import { rejection, takeUntil, UTF8 } from '../world.mjs';

export default {
    async evaluate(world) {
        const contract = await world.contract();
        assert.equal(UTF8.decode(await contract.evaluateTransaction('Get', world.key('nowhere'))), '');
        const answer = await contract.evaluate('WhoAmI');
        assert.equal(UTF8.decode(answer), world.home);
        const bytes = await contract.evaluate('Get', { arguments: [Buffer.from(world.key('nowhere'))] });
        assert.equal(UTF8.decode(bytes), '');
    },

    async 'evaluate-does-not-write'(world) {
        const contract = await world.contract();
        const total = await contract.evaluateTransaction('Add', world.key('evaluated'), '5');
        assert.equal(UTF8.decode(total), '5');
        assert.equal(await world.get('evaluated'), '');
    },

    async 'evaluate-at-an-organisation'(world) {
        const contract = await world.contract();
        const answer = await contract.evaluate('WhoAmI', { endorsingOrganizations: [world.third] });
        assert.equal(UTF8.decode(answer), world.home);
        const nobody = contract.evaluate('WhoAmI', { endorsingOrganizations: ['NobodyMSP'] });
        const error = await rejection(nobody);
        assert.equal(error.code, grpc.status.FAILED_PRECONDITION);
        assert.match(error.message, /no peers available to evaluate chaincode/);
    },

    async submit(world) {
        const contract = await world.contract();
        const key = world.key('submitted');
        assert.equal(UTF8.decode(await contract.submitTransaction('Add', key, '3')), '3');
        const again = await contract.submit('Add', { arguments: [key, Buffer.from('4')] });
        assert.equal(UTF8.decode(again), '7');
        assert.equal(await world.get('submitted'), '7');
    },

    async 'submit-without-a-result'(world) {
        const contract = await world.contract();
        const result = await contract.submitTransaction('Put', world.key('put'), 'value');
        assert.equal(result.length, 0);
        assert.equal(await world.get('put'), 'value');
    },

    async 'large-value'(world) {
        const contract = await world.contract();
        const value = 'قسط ادا ہو گئی. '.repeat(40_000);
        assert.ok(Buffer.byteLength(value) > 1_000_000);
        await contract.submitTransaction('Put', world.key('large'), value);
        assert.equal(await world.get('large'), value);
    },

    async 'submit-async'(world) {
        const contract = await world.contract();
        const options = { arguments: [world.key('async'), '2'] };
        const submitted = await contract.submitAsync('Add', options);
        assert.equal(UTF8.decode(submitted.getResult()), '2');
        assert.match(submitted.getTransactionId(), /^[0-9a-f]{64}$/);
        const status = await submitted.getStatus();
        assert.deepEqual(
            { ...status, blockNumber: typeof status.blockNumber },
            {
                blockNumber: 'bigint',
                code: StatusCode.VALID,
                successful: true,
                transactionId: submitted.getTransactionId(),
            },
        );
        assert.equal(await world.get('async'), '2');
    },

    async 'submit-through-each-member'(world) {
        for (const [index, mspId] of world.members.entries()) {
            const contract = await world.contract(mspId);
            const key = world.key(`through-${mspId}`);
            const total = await contract.submitTransaction('Add', key, `${index}`);
            assert.equal(UTF8.decode(total), `${index}`);
            assert.equal(UTF8.decode(await contract.evaluateTransaction('WhoAmI')), mspId);
        }
    },

    async 'submit-many-at-once'(world) {
        const contract = await world.contract();
        const numbers = Array.from({ length: 40 }, (_, index) => `${index + 1}`);
        const totals = await Promise.all(
            numbers.map((number) =>
                contract.submitTransaction('Add', world.key(`many-${number}`), number),
            ),
        );
        assert.deepEqual(totals.map((each) => UTF8.decode(each)), numbers);
    },

    async 'status-of-a-valid-transaction'(world) {
        const contract = await world.contract();
        const options = { arguments: [world.key('valid'), 'yes'] };
        const submitted = await contract.submitAsync('Put', options);
        const first = await submitted.getStatus();
        assert.equal(first.code, StatusCode.VALID);
        assert.deepEqual(await submitted.getStatus(), first, 'asked again, it is the same');
    },

    async 'status-of-a-conflict'(world) {
        const [first, second] = await world.conflict('conflict');
        assert.equal(first.code, StatusCode.VALID);
        assert.equal(second.code, StatusCode.MVCC_READ_CONFLICT);
        assert.equal(second.successful, false);
        assert.ok(second.blockNumber >= first.blockNumber);
        assert.equal(await world.get('conflict'), '1');
    },

    async 'status-of-an-endorsement-failure'(world) {
        const contract = await world.contract();
        const submitted = await contract.submitAsync('Put', {
            arguments: [world.key('by one'), 'x'],
            endorsingOrganizations: [world.home],
        });
        const status = await submitted.getStatus();
        assert.equal(status.code, StatusCode.ENDORSEMENT_POLICY_FAILURE);
        assert.equal(status.successful, false);
        assert.ok(status.blockNumber > 0n);
        assert.equal(await world.get('by one'), '');
    },

    async 'status-asked-before-the-submit'(world) {
        const { late, commit } = await world.unsubmitted('late');
        const waiting = commit.getStatus();
        await late.submit();
        const status = await waiting;
        assert.equal(status.code, StatusCode.VALID);
        assert.equal(status.transactionId, late.getTransactionId());
    },

    async 'endorsing-organisations'(world) {
        const contract = await world.contract();
        const organisations = [world.second, world.third];
        const proposal = contract.newProposal('Put', {
            arguments: [world.key('endorsed'), 'by two others'],
            endorsingOrganizations: organisations,
        });
        const transaction = await proposal.endorse();
        const bytes = Buffer.from(transaction.getBytes());
        for (const mspId of world.members) {
            // The first member is the creator; any other one is named only by its endorsement.
            const expected = mspId === world.home || organisations.includes(mspId);
            assert.equal(bytes.includes(mspId), expected, mspId);
        }
        assert.equal((await (await transaction.submit()).getStatus()).code, StatusCode.VALID);
    },

    async 'transient-data'(world) {
        const contract = await world.contract();
        const secret = crypto.randomBytes(32);
        const digest = crypto.createHash('sha256').update(secret).digest('hex');
        const proposal = contract.newProposal('KeepDigest', {
            arguments: [world.key('transient')],
            transientData: { secret },
            endorsingOrganizations: [world.home, world.second],
        });
        assert.ok(Buffer.from(proposal.getBytes()).includes(secret));
        const transaction = await proposal.endorse();
        assert.equal(UTF8.decode(transaction.getResult()), digest);
        assert.ok(!Buffer.from(transaction.getBytes()).includes(secret));
        const status = await (await transaction.submit()).getStatus();
        assert.ok(status.successful);
        const network = await world.network();
        const blocks = await network.getBlockEvents({ startBlock: status.blockNumber });
        const [block] = await takeUntil(blocks, () => true);
        const raw = Buffer.from(block.serializeBinary());
        assert.ok(raw.includes(digest) && !raw.includes(secret), 'the block has the digest alone');
    },

    async 'transient-data-of-a-query'(world) {
        const contract = await world.contract();
        const answer = await contract.evaluate('KeepDigest', {
            arguments: [world.key('nothing')],
            transientData: { secret: 'text' },
        });
        const digest = crypto.createHash('sha256').update('text').digest('hex');
        assert.equal(UTF8.decode(answer), digest);
    },
};
