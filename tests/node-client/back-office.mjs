// A bank's back office in Node, on the consortium's own contracts (docs/contracts.md).
//
//     node back-office.mjs SETTINGS.json SCENARIO…
//
// SETTINGS.json describes a network as for the scenarios, with the bank's file of pseudonym keys.

import * as grpc from '@grpc/grpc-js';
import { EndorseError } from '@hyperledger/fabric-gateway';
import assert from 'node:assert/strict';
import * as crypto from 'node:crypto';
import { promises as fs } from 'node:fs';
import { runAll } from './runner.mjs';
import { rejection, takeUntil, UTF8 } from './world.mjs';

const NAMESPACE = 'instalments';
const TAC = '35674108';
const IMEI = `${TAC}000001`; // the first 14 digits: the canonical form
const CHECK_DIGIT = '0';
const AGREEMENT = 'NODE-1';

/** The date in Pakistan, some days from now. */
function day(later = 0) {
    const when = new Date(Date.now() + later * 86_400_000);
    return new Intl.DateTimeFormat('en-CA', { timeZone: 'Asia/Karachi' }).format(when);
}

/** The current key of a section of the file of pseudonym keys. */
async function currentKey(file, section) {
    const text = await fs.readFile(file, 'utf8');
    const [, id, secret] = text
        .slice(text.indexOf(section))
        .match(/^id = "(.+)"\nsecret = "([0-9a-f]+)"$/m);
    return { id, secret: Buffer.from(secret, 'hex') };
}

/** A pseudonym (docs/formats.md, section 9). */
function pseudonym(key, kind, canonical) {
    const hmac = crypto.createHmac('sha256', key.secret);
    return `${key.id}:${hmac.update(`qist/pseudonym/1\0${kind}\0${canonical}`).digest('hex')}`;
}

/** A payment of today at the bank's branch. */
function paymentOf(agreement, reference) {
    return { agreement, reference, paid_on: day(), channel: 'branch' };
}

/** Submit one record to a bulk function, transient data with it, and return its verdict. */
async function submitRecord(world, mspId, name, record, transient) {
    const contract = (await world.network(mspId)).getContract(NAMESPACE);
    const options = { arguments: [JSON.stringify([record])] };
    if (transient) {
        options.transientData = Object.fromEntries(
            Object.entries(transient).map(([key, value]) => [key, JSON.stringify([value])]),
        );
        // Transient data go to those members alone that the application names.
        options.endorsingOrganizations = ['BankMSP', 'OperatorMSP'];
    }
    const { verdicts } = JSON.parse(UTF8.decode(await contract.submit(name, options)));
    return verdicts[0];
}

async function evaluate(world, name, ...args) {
    const contract = (await world.network('BankMSP')).getContract(NAMESPACE);
    return JSON.parse(UTF8.decode(await contract.evaluateTransaction(name, ...args)));
}

const scenarios = {
    async 'handset-is-registered-under-its-pseudonym'(world) {
        const key = await currentKey(world.settings.pseudonymKeys, '[[device]]');
        const device = pseudonym(key, 'device', IMEI);
        const tac = { tac: TAC, maker: 'MakerMSP', registrants: ['MakerMSP'] };
        assert.ok((await submitRecord(world, 'PtaMSP', 'RegisterTacs', tac)).ok);
        const handset = {
            imeis: [[device]],
            tac: TAC,
            model: 'Model N',
            maker: 'MakerMSP',
            country: 'PK',
        };
        const verdict = await submitRecord(world, 'MakerMSP', 'RegisterDevices', handset, {
            identifiers: { imeis: [IMEI + CHECK_DIGIT] },
        });
        assert.deepEqual([verdict.ok, verdict.state, verdict.id], [true, 'registered', device]);
    },

    async 'agreement-is-opened-with-transient-terms'(world) {
        const devices = await currentKey(world.settings.pseudonymKeys, '[[device]]');
        const people = await currentKey(world.settings.pseudonymKeys, '[[lender."BankMSP"]]');
        const agreement = {
            agreement: AGREEMENT,
            device: [pseudonym(devices, 'device', IMEI)],
            operator: 'OperatorMSP',
            borrower: pseudonym(people, 'borrower', 'PK/8220300000012'),
            sim: pseudonym(people, 'sim', '+923001234567'),
            contract_type: 'murabaha',
            receiving_institutions: ['BankMSP', 'OperatorMSP'],
            consent: null,
            opened_on: day(),
            imported: false,
        };
        const terms = {
            salt: crypto.randomBytes(16).toString('hex'),
            price_paisa: 2_000_000,
            down_payment_paisa: 400_000,
            currency: 'PKR',
            instalments: [30, 60].map((later) => ({ due: day(later), amount_paisa: 800_000 })),
        };
        const sent = { terms };
        const verdict = await submitRecord(world, 'BankMSP', 'OpenAgreements', agreement, sent);
        assert.deepEqual([verdict.ok, verdict.state], [true, 'open'], verdict.message);
    },

    async 'payment-is-posted-and-the-standing-follows'(world) {
        const startBlock = await world.nextBlock();
        const post = () => {
            const payment = paymentOf(AGREEMENT, 'N-1');
            return submitRecord(world, 'BankMSP', 'PostPayments', payment, { amounts: 500_000 });
        };
        const verdict = await post();
        assert.deepEqual([verdict.ok, verdict.written, verdict.state], [true, true, 'current']);
        const again = await post();
        assert.deepEqual([again.ok, again.written], [true, false], 'sent twice, written once');

        const standing = await evaluate(world, 'Standing', AGREEMENT, '');
        const { paid_paisa, outstanding_paisa, arrears_paisa, days_past_due, bucket } = standing;
        assert.deepEqual(
            { paid_paisa, outstanding_paisa, arrears_paisa, days_past_due, bucket },
            {
                paid_paisa: 500_000,
                outstanding_paisa: 1_100_000,
                arrears_paisa: 0,
                days_past_due: 0,
                bucket: 'current',
            },
        );
        const network = await world.network('BankMSP');
        const [event] = await takeUntil(
            await network.getChaincodeEvents(NAMESPACE, { startBlock }),
            () => true,
        );
        assert.equal(event.eventName, 'PostPayments');
        const payload = UTF8.decode(event.payload);
        assert.equal(JSON.parse(payload).records[0].agreement, AGREEMENT);
        assert.ok(!payload.includes('500000'), 'an event tells no amount');
    },

    async 'amounts-stay-among-the-members-of-the-lenders-collection'(world) {
        // Nobody is named: those endorse who belong to the collection.
        const contract = (await world.network('BankMSP')).getContract(NAMESPACE);
        const payment = paymentOf(AGREEMENT, 'N-3');
        const submitted = await contract.submitAsync('PostPayments', {
            arguments: [JSON.stringify([payment])],
            transientData: { amounts: JSON.stringify([100_000]) },
        });
        const { successful, blockNumber: startBlock } = await submitted.getStatus();
        assert.ok(successful);
        const { paid_paisa } = await evaluate(world, 'Standing', AGREEMENT, '');
        assert.equal(paid_paisa, 600_000);
        for (const [mspId, knows] of [
            ['BankMSP', true],
            ['OperatorMSP', true],
            ['PtaMSP', true],
            ['MakerMSP', false],
        ]) {
            const network = await world.network(mspId, 'auditor');
            const stream = await network.getBlockAndPrivateDataEvents({ startBlock });
            const [taken] = await takeUntil(stream, () => true);
            const bytes = Buffer.from(taken.serializeBinary());
            assert.equal(bytes.includes('100000'), knows, mspId);
            const block = Buffer.from(taken.getBlock().serializeBinary());
            assert.ok(!block.includes('100000'), 'a block tells no amount');
        }
    },

    async 'rule-that-is-broken-is-told-in-words'(world) {
        const payment = paymentOf('NODE-2', 'N-2');
        const amounts = { amounts: 1 };
        const verdict = await submitRecord(world, 'BankMSP', 'PostPayments', payment, amounts);
        assert.equal(verdict.ok, false);
        assert.match(verdict.message, /NODE-2/);
        const auditor = (await world.network('BankMSP', 'auditor')).getContract(NAMESPACE);
        const error = await rejection(auditor.submitTransaction('EndAgreements', '[]'));
        assert.ok(error instanceof EndorseError, error.stack);
        assert.match(error.details[0].message, /^chaincode response 400, .*lending/);
    },
};

const settings = JSON.parse(await fs.readFile(process.argv[2], 'utf8'));
await runAll(scenarios, process.argv.slice(3), settings);
