// What every server here does with a request that it lets through: it passes it on to the origin.
import http from "node:http";

export function forwardTo(port) {
  const agent = new http.Agent({ keepAlive: true });
  return (request, response) => {
    const { method, url, headers } = request;
    const onward = http.request({ host: "127.0.0.1", port, agent, method, path: url, headers }, (answer) => {
      // What the limiter set on the response stays, beside what the origin says.
      for (const [name, value] of Object.entries(answer.headers)) response.setHeader(name, value);
      response.statusCode = answer.statusCode;
      answer.pipe(response);
    });
    onward.on("error", () => (response.headersSent ? response.destroy() : response.writeHead(502).end()));
    request.pipe(onward);
  };
}
