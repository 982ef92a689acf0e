// express-rate-limit in front of the origin: node express_rate_limit.js ORIGIN_PORT OPTIONS
import express from "express";
import { rateLimit } from "express-rate-limit";

import { forwardTo } from "./origin.js";

const [origin, options] = process.argv.slice(2).map((argument) => JSON.parse(argument));
const app = express();
app.disable("x-powered-by");
app.use(rateLimit(options));
app.use(forwardTo(origin));
app.listen(Number(process.env.PORT), "127.0.0.1");
