// Validates files as ajv reads JSON Schema: ours in strict mode, SARIF's own as it is published.
// Reads a JSON list of jobs on stdin; prints one line per problem, then the number of checks.
import fs from "node:fs";
import Ajv2020 from "ajv/dist/2020.js";
import AjvDraft04 from "ajv-draft-04";
import addFormats from "ajv-formats";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const sarif = require.resolve("@microsoft/jest-sarif/package.json").replace(
  "package.json",
  "lib/schemas/sarif-2.1.0-rtm.5.json",
);

let checks = 0;
let problems = 0;
function problem(where, what) {
  problems += 1;
  console.log(`${where}: ${what}`);
}

for (const job of JSON.parse(fs.readFileSync(0, "utf8"))) {
  let validate;
  try {
    if (job.schema === "sarif") {
      // Published for draft 4, with keywords that strict mode does not know.
      const ajv = new AjvDraft04({ strict: false, allErrors: true, unicodeRegExp: false });
      addFormats(ajv);
      validate = ajv.compile(JSON.parse(fs.readFileSync(sarif, "utf8")));
    } else {
      const ajv = new Ajv2020({ strict: true, allErrors: true });
      addFormats(ajv);
      const schema = JSON.parse(fs.readFileSync(job.schema, "utf8"));
      if (!schema.$id) problem(job.schema, "it has no $id");
      validate = ajv.compile(schema);
    }
    checks += 1;
  } catch (error) {
    problem(job.schema, error.message);
    continue;
  }
  for (const file of job.files ?? []) {
    const text = fs.readFileSync(file, "utf8");
    const values = job.lines ? text.split("\n").filter((line) => line) : [text];
    for (const [index, value] of values.entries()) {
      checks += 1;
      if (!validate(JSON.parse(value))) {
        const first = validate.errors[0];
        problem(`${file}:${index + 1}`, `${first.instancePath} ${first.message}`);
      }
    }
  }
}
console.log(JSON.stringify({ checks, problems }));
process.exit(problems ? 1 : 0);
