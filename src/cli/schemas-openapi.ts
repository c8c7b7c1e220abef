/** `npm run schemas:openapi`: writes the admin service's OpenAPI document from its routes. */
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { adminOpenapi } from "../api/admin/admin.ts";

const PATH = join(import.meta.dirname, "../../schemas/admin/openapi.json");

mkdirSync(dirname(PATH), { recursive: true });
writeFileSync(PATH, adminOpenapi());
process.stdout.write(`${PATH}\n`);
