// How a program on Node calls Vafa: stubs from the published contract, a token with every call,
// and errors with what they carry. Copy this file and begin.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";

// What `make protos` made, or where the archive of it was unpacked.
const contract =
  process.env.VAFA_PROTOS ?? fileURLToPath(new URL("../../.build/vafa-protos", import.meta.url));

const files = [
  "vafa/contacts/v1/contacts.proto",
  "vafa/contacts/v1/interactions.proto",
  "vafa/loyalty/v1/programs.proto",
  "vafa/loyalty/v1/members.proto",
  "vafa/loyalty/v1/orders.proto",
  "vafa/loyalty/v1/ledger.proto",
  "vafa/feedback/v1/surveys.proto",
  "vafa/feedback/v1/responses.proto",
  "vafa/gateway/v1/customers.proto",
  "vafa/events/v1/events.proto",
  "google/rpc/status.proto",
  "google/rpc/error_details.proto",
];

// Fields keep the names of the contract; numbers of 64 bits are strings, so that none is rounded.
const definition = loadSync(files, {
  includeDirs: [contract],
  keepCase: true,
  longs: String,
  enums: String,
  defaults: true,
  oneofs: true,
});
const packages = grpc.loadPackageDefinition(definition);
const decode = (type, bytes) => definition[type].deserialize(bytes);

// The deadline of each method, and which calls are repeated when the suite cannot be reached.
const serviceConfig = readFileSync(`${contract}/service_config.json`, "utf8");

export const EVENTS = "vafa.events.v1.EventService";

export class VafaError extends Error {
  // code: the name of a canonical code. reason, domain, metadata: of google.rpc.ErrorInfo.
  // fieldViolations: of google.rpc.BadRequest; empty where no field is to blame.
  constructor(method, error) {
    super(error.details);
    this.method = method;
    this.code = grpc.status[error.code];
    Object.assign(this, { reason: "", domain: "", metadata: {}, fieldViolations: [] });
    const [packed] = error.metadata.get("grpc-status-details-bin");
    if (packed === undefined) return;
    for (const { type_url, value } of decode("google.rpc.Status", packed).details) {
      const type = type_url.split("/").pop();
      if (type === "google.rpc.ErrorInfo") Object.assign(this, decode(type, value));
      if (type === "google.rpc.BadRequest") {
        const violations = decode(type, value).field_violations;
        this.fieldViolations = violations.map(({ field, description }) => ({ field, description }));
      }
    }
  }
}

export class Vafa {
  #stubs = new Map();

  // token() returns the present token: each lasts for minutes.
  constructor(address, token, credentials = grpc.credentials.createInsecure()) {
    Object.assign(this, { address, token, credentials });
  }

  // The answer of one call, such as call("vafa.contacts.v1.ContactService", "GetContact", {name}).
  // Every service has events and operations under one name: { "vafa-service": … } says whose.
  call(service, method, request, headers = {}) {
    return new Promise((resolve, reject) => {
      this.#stub(service)[method](request, this.#metadata(headers), (error, answer) => {
        if (error) reject(new VafaError(`${service}/${method}`, error));
        else resolve(answer);
      });
    });
  }

  // The events of one of the services after a cursor, old ones and new ones, for some seconds.
  async *events(service, after, seconds) {
    const metadata = this.#metadata({ "vafa-service": service });
    const deadline = Date.now() + seconds * 1000;
    const request = { parent: `feeds/${service}`, after };
    try {
      const stream = this.#stub(EVENTS).StreamEvents(request, metadata, { deadline });
      for await (const { events } of stream) yield* events;
    } catch (error) {
      // A stream does not end by itself: its deadline is the end that was asked for.
      if (error.code !== grpc.status.DEADLINE_EXCEEDED) {
        throw new VafaError(`${EVENTS}/StreamEvents`, error);
      }
    }
  }

  close() {
    for (const stub of this.#stubs.values()) stub.close();
  }

  #stub(service) {
    if (!this.#stubs.has(service)) {
      const Stub = service.split(".").reduce((inner, part) => inner[part], packages);
      const options = { "grpc.service_config": serviceConfig };
      this.#stubs.set(service, new Stub(this.address, this.credentials, options));
    }
    return this.#stubs.get(service);
  }

  #metadata(headers) {
    return grpc.Metadata.fromHttp2Headers({ ...headers, authorization: `Bearer ${this.token()}` });
  }
}
