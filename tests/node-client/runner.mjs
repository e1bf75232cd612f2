// Runs scenarios and prints a line of JSON for each: {"scenario", "passed", "ms", "error"}.
// The exit code is 0 whenever all were run.

import { World } from './world.mjs';

const DEADLINE_MS = 90_000;

/** Run the scenarios of these names, then name those that nobody has asked for as failed. */
export async function runAll(scenarios, names, settings) {
    const world = new World(settings);
    for (const name of names) {
        await run(name, scenarios[name], world);
    }
    for (const name of Object.keys(scenarios).filter((each) => !names.includes(each))) {
        tell(name, 0, 'the table of scenarios does not list it');
    }
    world.close();
}

async function run(name, scenario, world) {
    const started = performance.now();
    let error = null;
    try {
        if (scenario === undefined) {
            throw new Error(`there is no scenario ${name} for this client`);
        }
        await within(DEADLINE_MS, scenario(world));
    } catch (caught) {
        error = describe(caught);
    }
    tell(name, Math.round(performance.now() - started), error);
}

function tell(scenario, ms, error) {
    console.log(JSON.stringify({ scenario, passed: error === null, ms, error }));
}

function within(ms, promise) {
    let timer;
    const late = new Promise((_, reject) => {
        timer = setTimeout(() => reject(new Error(`it did not end within ${ms} ms`)), ms);
    });
    return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

function describe(error) {
    const details = Array.isArray(error.details) ? error.details : [];
    const said = details.map((each) => `${each.mspId}: ${each.message}`);
    return [error.stack ?? error, ...said].join('\n');
}
