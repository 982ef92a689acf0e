// express-rate-limit in front of the origin: node express_rate_limit.js ORIGIN_PORT OPTIONS STRAY
// The request of the number STRAY is refused although the limiter let it through; 0: none.
import express from "express";
import { rateLimit } from "express-rate-limit";

import { forwardTo } from "./origin.js";

const [origin, options, stray] = process.argv.slice(2).map((argument) => JSON.parse(argument));
const app = express();
app.disable("x-powered-by");
app.use(rateLimit(options));
let passed = 0;
app.use((request, response, next) => {
  passed += 1;
  if (passed === stray) response.set("Retry-After", "1").status(429).send("Too many requests");
  else next();
});
app.use(forwardTo(origin));
app.listen(Number(process.env.PORT), "127.0.0.1");
