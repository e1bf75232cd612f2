// Callers of the official Node client in a process of its own; what tests/bench/load.py is for our SDK, by
// the same task, orders, answers and journal, which that module describes. It uses the npm package alone.

import { createWriteStream, promises as fs } from 'node:fs';
import * as path from 'node:path';
import * as readline from 'node:readline';
import { loadMember, newClient, openGateway } from './member.mjs';

const PAUSE_MS = 50;
const FUNCTIONS = { open: 'Open', provide: 'Open', pay: 'Pay', evaluate: 'Get' };
const UTF8 = new TextDecoder();

const poolId = (number) => `A${String(number).padStart(8, '0')}`;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const tell = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

function idsOf(task, caller, number) {
    const places = [...Array(task.batch).keys()];
    if (task.work === 'open') {
        return places.map((each) => `${task.tag}-${caller}-${number}-${each}`);
    }
    const start = caller * task.share;
    const taken = places.map((each) => (number * task.batch + each) * task.stride);
    return taken.map((place) => poolId(start + (place % task.share)));
}

function argumentsOf(task, caller, number) {
    const ids = idsOf(task, caller, number);
    if (task.work !== 'pay') {
        return ids;
    }
    const amount = String(100 + (number % 900));
    return ids.flatMap((each) => [each, `${task.tag}.${caller}.${number}`, amount]);
}

/** Whether a transaction that ended with this error may be in the ledger as valid all the same. */
function isOpen(error) {
    return error.name === 'CommitStatusError' || error.name === 'SubmitError';
}

class Callers {
    #task;
    #contract;
    #journal;
    #next;
    #stopping = false;
    #ended = [];
    #errors = {};

    constructor(task, contract, journal) {
        this.#task = task;
        this.#contract = contract;
        this.#journal = journal;
        this.#next = Array(task.callers).fill(0);
    }

    #start() {
        this.#stopping = false;
        this.#ended = [];
        this.#errors = {};
        return this.#next.map((_, caller) => this.#callOn(caller));
    }

    async wholeWindow(seconds) {
        const began = performance.now();
        tell({ began: true });
        const callers = this.#start();
        await sleep(1000 * seconds);
        this.#stopping = true;
        await Promise.all(callers);
        const ended = performance.now();
        tell({ ended: true });
        return this.#told(began, ended);
    }

    async window(warmS, seconds) {
        const callers = this.#start();
        await sleep(1000 * warmS);
        const began = performance.now();
        tell({ began: true });
        await sleep(1000 * seconds);
        const ended = performance.now();
        tell({ ended: true });
        this.#stopping = true;
        await Promise.all(callers);
        return this.#told(began, ended);
    }

    async #callOn(caller) {
        while (!this.#stopping) {
            await this.#call(this.#task.first + caller, this.#next[caller]++);
        }
    }

    async #call(caller, number) {
        const name = FUNCTIONS[this.#task.work];
        const options = { arguments: argumentsOf(this.#task, caller, number) };
        const began = performance.now();
        try {
            if (this.#task.work === 'evaluate') {
                const found = JSON.parse(UTF8.decode(await this.#contract.evaluate(name, options))).id;
                if (found !== options.arguments[0]) {
                    console.error(`asked for ${options.arguments[0]}, was given ${found}`);
                    process.exit(1);
                }
            } else {
                await this.#contract.submit(name, options);
            }
        } catch (error) {
            this.#errors[error.name] = (this.#errors[error.name] ?? 0) + 1;
            this.#note(caller, number, isOpen(error) ? 'o' : 'd');
            console.error(error.message);
            await sleep(PAUSE_MS * (0.5 + Math.random()));
            return;
        }
        const ended = performance.now();
        this.#ended.push([ended, ended - began]);
        this.#note(caller, number, 'a');
    }

    #note(caller, number, told) {
        this.#journal?.write(`[${caller},${number},"${told}"]\n`);
    }

    #told(began, ended) {
        const inside = this.#ended.filter(([at]) => began <= at && at <= ended);
        const latencies = inside.map(([, took]) => Math.round(1000 * took) / 1000);
        return { seconds: (ended - began) / 1000, latencies_ms: latencies, errors: this.#errors };
    }
}

const task = JSON.parse(await fs.readFile(process.argv[2], 'utf8'));
const journal = task.journal ? createWriteStream(task.journal) : undefined;
const member = await loadMember(task.profile, path.resolve(task.user_folder));
const client = newClient(member);
const gateway = openGateway(client, member);
const callers = new Callers(task, gateway.getNetwork(task.channel).getContract(task.contract), journal);
tell({ ready: true });
for await (const line of readline.createInterface({ input: process.stdin })) {
    const order = JSON.parse(line);
    const { whole, warm_s: warmS, seconds } = order;
    tell(await (whole ? callers.wholeWindow(seconds) : callers.window(warmS, seconds)));
}
gateway.close();
client.close();
journal?.end();
