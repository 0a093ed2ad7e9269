// Asks questions by gRPC-Web, in a page.
import { fromJson, toJson } from "@bufbuild/protobuf";
import { connect, refusalOf, registry } from "../../../examples/browser/vafa.js";

globalThis.ask = async ({ edge, token, questions }) => {
  const suite = connect(edge, () => token);
  const answers = [];
  for (const { service, method, request, headers } of questions) {
    const { input, output, localName } = registry
      .getService(service)
      .methods.find(({ name }) => name === method);
    try {
      const answer = await suite(service)[localName](fromJson(input, request), { headers });
      answers.push({ answer: toJson(output, answer, { registry }) });
    } catch (error) {
      const refusal = refusalOf(error);
      const fieldViolations = refusal.fieldViolations.map(({ field, description }) => {
        return { field, description };
      });
      answers.push({ refusal: { ...refusal, fieldViolations } });
    }
  }
  return answers;
};
