// How a page calls Vafa: gRPC-Web by the published descriptors, a token with every call, and
// errors with what they carry. Copy this file and begin; with protoc-gen-es it becomes typed.
import { createFileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { createGrpcWebTransport } from "@connectrpc/connect-web";
import contract from "../../client/vafa/vafa.binpb";

export const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, contract));

// The services of the suite behind its edge, such as "http://127.0.0.1:8080":
// connect(edge, token)("vafa.contacts.v1.ContactService").getContact({ name }).
// token() gives the present token: each lasts for minutes.
export function connect(edge, token) {
  const authorized = (next) => async (request) => {
    request.header.set("authorization", `Bearer ${await token()}`);
    return next(request);
  };
  const transport = createGrpcWebTransport({
    baseUrl: edge,
    interceptors: [authorized],
    defaultTimeoutMs: 10_000,
  });
  return (service) => createClient(registry.getService(service), transport);
}

// What a failed call says: the name of its canonical code, the reason to act on, and the fields
// that are to blame.
export function refusalOf(failure) {
  const error = ConnectError.from(failure);
  const [info] = error.findDetails(registry.getMessage("google.rpc.ErrorInfo"));
  const [request] = error.findDetails(registry.getMessage("google.rpc.BadRequest"));
  return {
    code: Code[error.code],
    message: error.rawMessage,
    reason: info?.reason ?? "",
    domain: info?.domain ?? "",
    metadata: info?.metadata ?? {},
    fieldViolations: request?.fieldViolations ?? [],
  };
}
