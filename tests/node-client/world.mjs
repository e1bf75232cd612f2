// What scenarios share: the members and users of the network, connections to them, and small aids.

import * as path from 'node:path';
import { loadMember, newClient, openGateway } from './member.mjs';

export const UTF8 = new TextDecoder();

/**
 * The network of the scenarios, as settings describe it:
 * channel, contract, user, firstBlock, and of each member its profile and the folder of its users.
 */
export class World {
    #clients = new Map();
    #gateways = new Map();

    constructor(settings) {
        this.settings = settings;
        [this.home, this.second, this.third] = Object.keys(settings.members);
    }

    /** A user of a member: of the first member and the usual user by default. */
    member(mspId = this.home, user = this.settings.user) {
        const { profile, users } = this.settings.members[mspId];
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
        const contract = await this.contract();
        const submitted = await contract.submitAsync('Put', { arguments: ['mark', 'here'] });
        return (await submitted.getStatus()).blockNumber + 1n;
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
