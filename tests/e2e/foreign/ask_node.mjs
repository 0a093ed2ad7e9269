// Asks the questions of stdin by grpc-js, and writes what each was answered.
import { text } from "node:stream/consumers";
import { Vafa, VafaError } from "../../../examples/node/vafa.js";

const { address, token, questions } = JSON.parse(await text(process.stdin));
const vafa = new Vafa(address, () => token);
const answers = [];
for (const { service, method, request, headers } of questions) {
  try {
    answers.push({ answer: await vafa.call(service, method, request, headers) });
  } catch (error) {
    if (!(error instanceof VafaError)) throw error;
    const { code, message, reason, domain, metadata, fieldViolations } = error;
    answers.push({ refusal: { code, message, reason, domain, metadata, fieldViolations } });
  }
}
vafa.close();
console.log(JSON.stringify(answers));
