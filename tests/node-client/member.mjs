// A member of a Fabric network as an application finds it: the connection profile tells gateway and
// TLS authority, a user's MSP folder holds certificate and key, one file in each of their folders.
// Nothing here knows what kind of network it is.

import * as grpc from '@grpc/grpc-js';
import { connect, hash, signers } from '@hyperledger/fabric-gateway';
import * as crypto from 'node:crypto';
import { promises as fs } from 'node:fs';
import * as path from 'node:path';

const DEADLINES_MS = { evaluate: 10_000, endorse: 15_000, submit: 10_000, commitStatus: 30_000 };

/** Read a connection profile and the MSP folder of one of the member's users. */
export async function loadMember(profilePath, mspFolder) {
    const profile = JSON.parse(await fs.readFile(profilePath, 'utf8'));
    const organization = profile.organizations[profile.client.organization];
    const peer = profile.peers[organization.peers[0]];
    const certificate = await onlyFile(path.join(mspFolder, 'signcerts'));
    const key = await onlyFile(path.join(mspFolder, 'keystore'));
    return {
        address: new URL(peer.url).host,
        tlsAuthority: Buffer.from(peer.tlsCACerts.pem),
        identity: { mspId: organization.mspid, credentials: certificate },
        privateKey: crypto.createPrivateKey(key),
    };
}

async function onlyFile(folder) {
    const [name, ...more] = await fs.readdir(folder);
    if (!name || more.length) {
        throw new Error(`${folder} should hold one file`);
    }
    return fs.readFile(path.join(folder, name));
}

/** Return a gRPC connection to a member's gateway; `options` are those of gRPC. */
export function newClient(member, tlsAuthority = member.tlsAuthority, options = {}) {
    return new grpc.Client(member.address, grpc.credentials.createSsl(tlsAuthority), options);
}

/** Return a signer that holds the user's private key. */
export function newSigner(member) {
    return signers.newPrivateKeySigner(member.privateKey);
}

/** Connect a user; `options` replace those of the official client's `connect`. */
export function openGateway(client, member, options = {}) {
    const within = (stage) => () => ({ deadline: Date.now() + DEADLINES_MS[stage] });
    return connect({
        client,
        identity: member.identity,
        signer: newSigner(member),
        hash: hash.sha256,
        evaluateOptions: within('evaluate'),
        endorseOptions: within('endorse'),
        submitOptions: within('submit'),
        commitStatusOptions: within('commitStatus'),
        ...options,
    });
}
