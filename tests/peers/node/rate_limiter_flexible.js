// rate-limiter-flexible in front of the origin, as its README shows it: node rate_limiter_flexible.js ORIGIN_PORT OPTIONS
import http from "node:http";

import { RateLimiterMemory } from "rate-limiter-flexible";

import { forwardTo } from "./origin.js";

const [origin, options] = process.argv.slice(2).map((argument) => JSON.parse(argument));
const limiter = new RateLimiterMemory(options);
const forward = forwardTo(origin);

http
  .createServer(async (request, response) => {
    try {
      await limiter.consume(request.socket.remoteAddress);
    } catch (refusal) {
      request.resume();
      const headers = { "Retry-After": Math.ceil(refusal.msBeforeNext / 1000), "Content-Type": "text/plain" };
      response.writeHead(429, headers).end("Too Many Requests");
      return;
    }
    forward(request, response);
  })
  .listen(Number(process.env.PORT), "127.0.0.1");
