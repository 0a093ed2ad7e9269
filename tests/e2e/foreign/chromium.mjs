// A page in a headless Chromium, spoken to by the DevTools protocol over two pipes.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  // A container has little shared memory.
  "--disable-dev-shm-usage",
  "--remote-debugging-pipe",
];

// Opens a page and returns it once it is loaded; close() ends the browser.
export async function openPage(url) {
  const profile = mkdtempSync(join(tmpdir(), "vafa-chromium-"));
  const browser = spawn(process.env.CHROMIUM, [...FLAGS, `--user-data-dir=${profile}`], {
    stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"],
  });
  const ended = new Promise((resolve) => browser.once("exit", resolve));
  const send = protocol(browser.stdio[3], browser.stdio[4], ended);
  const { targetId } = await send("Target.createTarget", { url: "about:blank" });
  const { sessionId } = await send("Target.attachToTarget", { targetId, flatten: true });
  const { errorText } = await send("Page.navigate", { url }, sessionId);
  if (errorText) throw new Error(`${url}: ${errorText}`);

  async function evaluate(expression) {
    const options = { expression, awaitPromise: true, returnByValue: true };
    const { result, exceptionDetails } = await send("Runtime.evaluate", options, sessionId);
    if (exceptionDetails) throw new Error(exceptionDetails.exception?.description);
    return result.value;
  }

  async function until(expression, what) {
    const endsAt = Date.now() + 15_000;
    while (!(await evaluate(expression))) {
      if (Date.now() > endsAt) {
        throw new Error(`not in time: ${what}\n${await evaluate("document.body.outerHTML")}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
  }

  async function close() {
    await send("Browser.close");
    await ended;
    rmSync(profile, { recursive: true, maxRetries: 5 });
  }

  return { evaluate, until, close };
}

// Returns what sends a command and waits for its result; messages end with a NUL.
function protocol(input, output, ended) {
  const waiting = new Map();
  let [last, rest] = [0, ""];
  output.setEncoding("utf8");
  output.on("data", (text) => {
    const messages = (rest + text).split("\0");
    rest = messages.pop();
    for (const { id, result, error } of messages.map((message) => JSON.parse(message))) {
      if (id === undefined) continue;
      const { resolve, reject } = waiting.get(id);
      waiting.delete(id);
      if (error) reject(new Error(error.message));
      else resolve(result);
    }
  });
  ended.then(() => {
    for (const { reject } of waiting.values()) reject(new Error("the browser has ended"));
  });
  return (method, params = {}, sessionId = undefined) =>
    new Promise((resolve, reject) => {
      waiting.set(++last, { resolve, reject });
      input.write(JSON.stringify({ id: last, method, params, sessionId }) + "\0");
    });
}
