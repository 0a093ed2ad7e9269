// Uses the example's page as a person would: adds a name, sees it come, and a refusal.
import { openPage } from "./chromium.mjs";

const [url, name] = process.argv.slice(2);
const type = (text) => `
  document.querySelector("#name").value = ${JSON.stringify(text)};
  document.querySelector("button").click();`;
const page = await openPage(url);
try {
  await page.until(`document.querySelector("#name") !== null`, "the form");
  // Until the page follows the feed, a name that is added is only listed by chance.
  await page.until(`document.querySelectorAll("li").length > 0`, "the contacts of before");
  await page.evaluate(type(name));
  await page.until(`document.querySelector("li")?.textContent === ${JSON.stringify(name)}`, name);
  await page.evaluate(type(""));
  await page.until(`document.querySelector("#refusal").textContent !== ""`, "the refusal");
  console.log(await page.evaluate(`document.querySelector("#refusal").textContent`));
} finally {
  await page.close();
}
