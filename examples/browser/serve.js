// Bundles the page and serves it on this machine, for a suite that `make run` serves.
//   npm ci && npm start
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const edge = process.env.VAFA_EDGE ?? "http://127.0.0.1:8080";
const port = Number(process.env.PORT ?? 3000);
const tokenFile =
  process.env.VAFA_TOKEN_FILE ?? new URL("../../.vafa/tokens/admin.jwt", import.meta.url);

const bundle = await build({
  entryPoints: [fileURLToPath(new URL("page.js", import.meta.url))],
  bundle: true,
  format: "esm",
  loader: { ".binpb": "binary" },
  write: false,
});
const html = await readFile(new URL("index.html", import.meta.url), "utf8");

const pages = {
  "/": ["text/html", async () => html.replace("%EDGE%", edge)],
  "/page.js": ["text/javascript", async () => bundle.outputFiles[0].text],
  // Whoever can open the page gets the token of the operator: for this machine alone.
  "/token": ["text/plain", async () => (await readFile(tokenFile, "utf8")).trim()],
};

const server = createServer(async (request, response) => {
  // A name that another site points at this machine must not get the token either.
  const isHere = /^(127\.0\.0\.1|localhost)(:\d+)?$/.test(request.headers.host);
  const page = isHere ? pages[request.url] : undefined;
  if (page === undefined) return response.writeHead(404).end();
  const [type, content] = page;
  response.writeHead(200, { "content-type": `${type}; charset=utf-8`, "cache-control": "no-store" });
  response.end(await content());
});
server.listen(port, "127.0.0.1", () => {
  console.log(`The page is at http://127.0.0.1:${server.address().port}/`);
});
