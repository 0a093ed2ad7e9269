// A page that lists the newest contacts, adds one, and shows what is new as it happens.
import { connect, refusalOf } from "./vafa.js";

const { edge } = document.body.dataset;
// A server of yours gives its signed-in users a token with their roles; serve.js stands for it.
const token = async () => (await fetch("/token")).text();
const suite = connect(edge, token);
const contacts = suite("vafa.contacts.v1.ContactService");
const events = suite("vafa.events.v1.EventService");
// Every service has events, under one name; the header says whose are meant.
const ofContacts = { headers: { "vafa-service": "contacts" } };

const [form, name, refusal, list] = ["form", "#name", "#refusal", "ul"].map((part) =>
  document.querySelector(part),
);

async function show() {
  const page = await contacts.listContacts({ pageSize: 20, orderBy: "create_time desc" });
  list.replaceChildren(
    ...page.contacts.map((contact) => {
      const item = document.createElement("li");
      item.textContent = contact.displayName;
      // The name of a person has the direction of its own script.
      item.dir = "auto";
      return item;
    }),
  );
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  refusal.textContent = "";
  try {
    await contacts.createContact({
      contact: { displayName: name.value },
      // Sent again under the same id, it is answered as it was at first.
      requestId: crypto.randomUUID(),
    });
    form.reset();
  } catch (error) {
    const { reason, fieldViolations } = refusalOf(error);
    const told = fieldViolations.map(({ field, description }) => `${field}: ${description}`);
    refusal.textContent = [reason, ...told].join(" · ");
  }
});

// Follows the feed from where it ends now; a stream that breaks goes on from the last cursor.
async function follow() {
  const feed = { parent: "feeds/contacts" };
  let { head: after } = await events.listEvents({ ...feed, pageSize: 1 }, ofContacts);
  for (;;) {
    await show();
    try {
      const stream = events.streamEvents({ ...feed, after }, { ...ofContacts, timeoutMs: 60_000 });
      for await (const { events: news, next } of stream) {
        after = next;
        if (news.length > 0) await show();
      }
    } catch (error) {
      const { code } = refusalOf(error);
      if (code !== "DeadlineExceeded" && code !== "Unavailable") throw error;
    }
  }
}

follow().catch((error) => {
  refusal.textContent = `${refusalOf(error).code}: ${refusalOf(error).message}`;
});
