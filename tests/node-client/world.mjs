// What scenarios share: the members and users of the network, connections to them, and small aids.

import assert from 'node:assert/strict';
import * as path from 'node:path';
import { loadMember, newClient, openGateway } from './member.mjs';

export const UTF8 = new TextDecoder();

/**
 * The network of the scenarios, as settings describe it: channel, contract, user, firstBlock; a prefix
 * for keys; of each member its MSP id, its profile and the folder of its users; users of the first
 * member by the kind of their key; and how the peer of one member is stopped and started.
 */
export class World {
    #clients = new Map();
    #gateways = new Map();

    constructor(settings) {
        this.settings = settings;
        this.members = settings.members.map(({ mspId }) => mspId);
        [this.home, this.second, this.third] = this.members;
    }

    /** A key that no other client and no other run uses. */
    key(name) {
        return `${this.settings.prefix}${name}`;
    }

    /** A user of a member: of the first member and the usual user by default. */
    member(mspId = this.home, user = this.settings.user) {
        const { profile, users } = this.settings.members.find((each) => each.mspId === mspId);
        return loadMember(profile, path.join(users, user, 'msp'));
    }

    /** A connected gateway, kept until the end. */
    async gateway(mspId = this.home, user = this.settings.user) {
        const name = `${mspId}/${user}`;
        if (!this.#gateways.has(name)) {
            const member = await this.member(mspId, user);
            this.#gateways.set(name, openGateway(this.client(member), member));
        }
        return this.#gateways.get(name);
    }

    /** The connection to a member's node, one for all users. */
    client(member) {
        if (!this.#clients.has(member.address)) {
            this.#clients.set(member.address, newClient(member));
        }
        return this.#clients.get(member.address);
    }

    /** The channel as a user sees it. */
    async network(mspId, user) {
        return (await this.gateway(mspId, user)).getNetwork(this.settings.channel);
    }

    /** The contract of the scenarios as the usual user sees it. */
    async contract(mspId) {
        return this.contractOf(await this.gateway(mspId));
    }

    /** The contract of the scenarios through a gateway. */
    contractOf(gateway) {
        return gateway.getNetwork(this.settings.channel).getContract(this.settings.contract);
    }

    /** The number of the block after the newest one, which a new transaction tells. */
    async nextBlock() {
        const [{ blockNumber }] = await this.add('mark', 1);
        return blockNumber + 1n;
    }

    /** Submit `Add` some times, one after the other, and return the statuses. */
    async add(name, count) {
        const contract = await this.contract();
        const statuses = [];
        for (let number = 1; number <= count; number++) {
            const options = { arguments: [this.key(name), '1'] };
            const status = await (await contract.submitAsync('Add', options)).getStatus();
            assert.ok(status.successful, `code ${status.code}`);
            statuses.push(status);
        }
        return statuses;
    }

    /** Endorse two transactions on one state and submit both: the second one meets a conflict. */
    async conflict(name) {
        const contract = await this.contract();
        const endorsed = [];
        for (const number of ['1', '2']) {
            const options = { arguments: [this.key(name), number] };
            endorsed.push(await contract.newProposal('Add', options).endorse());
        }
        const statuses = [];
        for (const transaction of endorsed) {
            statuses.push(await (await transaction.submit()).getStatus());
        }
        return statuses;
    }

    /** What stands under a key, as text. */
    async get(name) {
        const contract = await this.contract();
        return UTF8.decode(await contract.evaluateTransaction('Get', this.key(name)));
    }

    /**
     * A transaction that is endorsed and not submitted, and the request for its status, made of that of
     * another transaction, in which the id is replaced.
     */
    async unsubmitted(name) {
        const contract = await this.contract();
        const put = (key) => ({ arguments: [this.key(key), 'x'] });
        const late = await contract.newProposal('Put', put(name)).endorse();
        const other = await contract.submitAsync('Put', put(`${name}, first`));
        const request = Buffer.from(other.getBytes());
        request.write(late.getTransactionId(), request.indexOf(other.getTransactionId()));
        return { late, commit: (await this.gateway()).newCommit(request) };
    }

    close() {
        this.#gateways.forEach((each) => each.close());
        this.#clients.forEach((each) => each.close());
    }
}

/** Take from a stream until `enough(taken)`, and close it. */
export async function takeUntil(stream, enough) {
    const taken = [];
    try {
        for await (const each of stream) {
            taken.push(each);
            if (enough(taken)) {
                return taken;
            }
        }
        throw new Error(`the stream ended after ${taken.length}`);
    } finally {
        stream.close();
    }
}

/** Return what `promise` is rejected with. */
export async function rejection(promise) {
    let value;
    try {
        value = await promise;
    } catch (error) {
        return error;
    }
    const told = value instanceof Uint8Array ? UTF8.decode(value) : value;
    throw new Error(`it should have failed and gave ${told}`);
}

/** Wait until a stream ends, quietly or by an error, and return how many came before and that error. */
export async function ends(stream, withinMs) {
    const counting = (async () => {
        let count = 0;
        try {
            for await (const each of stream) {
                count += each ? 1 : 0;
            }
            return { count };
        } catch (error) {
            return { count, error };
        }
    })();
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error('the stream did not end')), withinMs);
    });
    return Promise.race([counting, late]).finally(() => clearTimeout(timer));
}
