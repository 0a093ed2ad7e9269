// Asks the questions of stdin by gRPC-Web in a browser, and writes what each was answered.
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { openPage } from "./chromium.mjs";

const example = new URL("../../../examples/browser/", import.meta.url);
const { build } = createRequire(example)("esbuild");

const asked = await text(process.stdin);
const bundle = await build({
  entryPoints: [fileURLToPath(new URL("page.js", import.meta.url))],
  bundle: true,
  loader: { ".binpb": "binary" },
  nodePaths: [fileURLToPath(new URL("node_modules", example))],
  write: false,
});
const html = `<!doctype html><meta charset="utf-8"><script src="/page.js"></script>`;
const server = createServer((request, response) => {
  response.end(request.url === "/page.js" ? bundle.outputFiles[0].text : html);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const page = await openPage(`http://127.0.0.1:${server.address().port}/`);
try {
  await page.until("globalThis.ask !== undefined", "the script of the page");
  console.log(JSON.stringify(await page.evaluate(`ask(${asked})`)));
} finally {
  await page.close();
  server.close();
}
