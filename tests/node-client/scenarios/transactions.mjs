// Transactions: submit, submitAsync, commit status, endorsing organisations, transient data.

import { StatusCode } from '@hyperledger/fabric-gateway';
import assert from 'node:assert/strict';
import * as crypto from 'node:crypto';
import { takeUntil, UTF8 } from '../world.mjs';

/** Endorse two transactions on one state and submit both: the second one meets a conflict. */
export async function conflict(world, key) {
    const contract = await world.contract();
    const endorsed = [];
    for (const number of ['1', '2']) {
        endorsed.push(await contract.newProposal('Add', { arguments: [key, number] }).endorse());
    }
    const statuses = [];
    for (const transaction of endorsed) {
        statuses.push(await (await transaction.submit()).getStatus());
    }
    return statuses;
}

export default {
    async submit(world) {
        const contract = await world.contract();
        const total = await contract.submitTransaction('Add', 'submitted', '3');
        assert.equal(UTF8.decode(total), '3');
        const again = await contract.submit('Add', { arguments: ['submitted', Buffer.from('4')] });
        assert.equal(UTF8.decode(again), '7');
        assert.equal(UTF8.decode(await contract.evaluateTransaction('Get', 'submitted')), '7');
    },

    async 'submit-without-a-result'(world) {
        const contract = await world.contract();
        const result = await contract.submitTransaction('Put', 'put', 'value');
        assert.equal(result.length, 0);
        assert.equal(UTF8.decode(await contract.evaluateTransaction('Get', 'put')), 'value');
    },

    async 'large-value'(world) {
        const contract = await world.contract();
        const value = 'قسط ادا ہو گئی. '.repeat(40_000);
        assert.ok(Buffer.byteLength(value) > 1_000_000);
        await contract.submitTransaction('Put', 'large', value);
        assert.equal(UTF8.decode(await contract.evaluateTransaction('Get', 'large')), value);
    },

    async 'submit-async'(world) {
        const contract = await world.contract();
        const submitted = await contract.submitAsync('Add', { arguments: ['async', '2'] });
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
        assert.equal(UTF8.decode(await contract.evaluateTransaction('Get', 'async')), '2');
    },

    async 'submit-through-each-member'(world) {
        for (const [index, mspId] of Object.keys(world.settings.members).entries()) {
            const contract = await world.contract(mspId);
            const total = await contract.submitTransaction('Add', `through-${mspId}`, `${index}`);
            assert.equal(UTF8.decode(total), `${index}`);
            assert.equal(UTF8.decode(await contract.evaluateTransaction('WhoAmI')), mspId);
        }
    },

    async 'submit-many-at-once'(world) {
        const contract = await world.contract();
        const numbers = Array.from({ length: 40 }, (_, index) => `${index + 1}`);
        const totals = await Promise.all(
            numbers.map((number) => contract.submitTransaction('Add', `many-${number}`, number)),
        );
        assert.deepEqual(totals.map((each) => UTF8.decode(each)), numbers);
    },

    async 'status-of-a-valid-transaction'(world) {
        const contract = await world.contract();
        const submitted = await contract.submitAsync('Put', { arguments: ['valid', 'yes'] });
        const first = await submitted.getStatus();
        assert.equal(first.code, StatusCode.VALID);
        assert.deepEqual(await submitted.getStatus(), first, 'asked again, it is the same');
    },

    async 'status-of-a-conflict'(world) {
        const [first, second] = await conflict(world, 'conflict');
        assert.equal(first.code, StatusCode.VALID);
        assert.equal(second.code, StatusCode.MVCC_READ_CONFLICT);
        assert.equal(second.successful, false);
        assert.ok(second.blockNumber >= first.blockNumber);
        const contract = await world.contract();
        assert.equal(UTF8.decode(await contract.evaluateTransaction('Get', 'conflict')), '1');
    },

    async 'endorsing-organisations'(world) {
        const contract = await world.contract();
        const organisations = [world.second, world.third];
        const proposal = contract.newProposal('Put', {
            arguments: ['endorsed', 'by two others'],
            endorsingOrganizations: organisations,
        });
        const transaction = await proposal.endorse();
        const bytes = Buffer.from(transaction.getBytes());
        for (const mspId of Object.keys(world.settings.members)) {
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
            arguments: ['transient'],
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
            arguments: ['nothing'],
            transientData: { secret: 'text' },
        });
        const digest = crypto.createHash('sha256').update('text').digest('hex');
        assert.equal(UTF8.decode(answer), digest);
    },
};
