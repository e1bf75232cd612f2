// The scenarios that every official client must have, for Node.
//
//     node scenarios.mjs SETTINGS.json TABLE.json
//
// TABLE.json lists the scenarios; SETTINGS.json describes a network (see world.mjs), which may be
// any Fabric network that has the contract of the scenarios.

import { promises as fs } from 'node:fs';
import { runAll } from './runner.mjs';
import connecting from './scenarios/connecting.mjs';
import deadlines from './scenarios/deadlines.mjs';
import errors from './scenarios/errors.mjs';
import events from './scenarios/events.mjs';
import privateData from './scenarios/private.mjs';
import signing from './scenarios/signing.mjs';
import transactions from './scenarios/transactions.mjs';

const [settings, table] = await Promise.all(
    process.argv.slice(2).map(async (file) => JSON.parse(await fs.readFile(file, 'utf8'))),
);
await runAll(
    { ...connecting, ...transactions, ...events, ...privateData, ...signing, ...errors, ...deadlines },
    table.map(({ name }) => name),
    settings,
);
