// Calls a suite that `make run` serves, as any program on Node would.
//   make protos && cd examples/node && npm ci && npm start
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { EVENTS, Vafa, VafaError } from "./vafa.js";

const address = process.env.VAFA_ADDRESS ?? "127.0.0.1:8080";
const tokenFile =
  process.env.VAFA_TOKEN_FILE ?? new URL("../../.vafa/tokens/admin.jwt", import.meta.url);

const CONTACTS = "vafa.contacts.v1.ContactService";
const vafa = new Vafa(address, () => readFileSync(tokenFile, "utf8").trim());

// Where the feed of the contacts ends now.
const latest = { parent: "feeds/contacts", page_size: 1 };
const { head } = await vafa.call(EVENTS, "ListEvents", latest, { "vafa-service": "contacts" });

// A write carries a request_id of its own: sent again under it, it is answered as it was at first.
const created = await vafa.call(CONTACTS, "CreateContact", {
  contact: {
    display_name: "علی‌رضا مؤمنی",
    phones: [{ number: "+98 912 123 4567", label: "mobile" }],
    labels: { city: "شیراز" },
  },
  request_id: randomUUID(),
});
const contact = await vafa.call(CONTACTS, "GetContact", { name: created.name });
console.log("created  ", contact.name, contact.display_name, contact.phones[0].number);

// A list comes in pages; the token of one is the way to the next.
const filter = 'labels.city = "شیراز"';
let [page_token, count] = ["", 0];
do {
  const page = await vafa.call(CONTACTS, "ListContacts", { filter, page_size: 100, page_token });
  ({ next_page_token: page_token } = page);
  count += page.contacts.length;
} while (page_token);
console.log("listed   ", count, "from Shiraz");

// What is refused says why: a reason to act on, and the fields that are to blame.
try {
  await vafa.call(CONTACTS, "CreateContact", {
    contact: { display_name: "", phones: [{ number: "12" }] },
    request_id: randomUUID(),
  });
} catch (error) {
  if (!(error instanceof VafaError)) throw error;
  console.log("refused  ", error.code, error.reason, error.domain);
  for (const { field, description } of error.fieldViolations) {
    console.log("         ", `${field}: ${description}`);
  }
}

// The feed tells what was changed since, and nothing of whom.
for await (const event of vafa.events("contacts", head, 2)) {
  console.log("event    ", event.type, event.subject);
}
vafa.close();
