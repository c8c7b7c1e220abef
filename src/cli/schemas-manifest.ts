/** `npm run schemas:manifest`: writes the schema of `model.yaml` for editors from that of the manifest. */
import { writeFileSync } from "node:fs";
import { EDITOR_SCHEMA } from "./init-engine.ts";
import { manifestSchemaForEditors } from "./manifest-schema.ts";

writeFileSync(EDITOR_SCHEMA, manifestSchemaForEditors());
process.stdout.write(`${EDITOR_SCHEMA}\n`);
