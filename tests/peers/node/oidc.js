// oidc-provider, in front of a REST API by hand and graphql-js. LIFE is a token's, in seconds; ONE_TOKEN: a new token ends
// the one before; METHOD: how the client authenticates (client_secret_post, client_secret_basic).
import { createServer } from "node:http";
import Provider from "oidc-provider";
import { body, port, send, Warehouse } from "./warehouse.js";

const url = `http://127.0.0.1:${process.env.PORT}`;
const life = Number(process.env.LIFE ?? 3600);
const alive = new Set();
const warehouse = new Warehouse();

const provider = new Provider(url, {
  clients: [
    {
      client_id: "peer",
      client_secret: process.env.SECRET ?? "secret",
      token_endpoint_auth_method: process.env.METHOD ?? "client_secret_post",
      grant_types: ["client_credentials", "authorization_code", "refresh_token"],
      response_types: ["code"],
      redirect_uris: ["https://app.example/back"],
    },
  ],
  features: { clientCredentials: { enabled: true }, devInteractions: { enabled: false } },
  routes: { token: "/oauth/token", authorization: "/oauth/authorize" },
  scopes: ["offline_access", "read"],
  issueRefreshToken: async () => true,
  rotateRefreshToken: true,
  ttl: { ClientCredentials: life, AccessToken: life, Grant: 3600, Interaction: 600, RefreshToken: 3600, Session: 600 },
  findAccount: async (_, sub) => ({ accountId: sub, claims: async () => ({ sub }) }),
  interactions: { url: (_, interaction) => `/interaction/${interaction.uid}` },
  cookies: { keys: ["peer"] },
});

for (const kind of ["client_credentials", "access_token"])
  provider.on(`${kind}.saved`, (token) => {
    if (process.env.ONE_TOKEN) alive.clear();
    alive.add(token.jti);
  });

// Somebody who logs in and consents at once.
async function interact(request, response) {
  const { prompt, params, session } = await provider.interactionDetails(request, response);
  if (prompt.name === "login")
    return provider.interactionFinished(request, response, { login: { accountId: "somebody" } });
  const grant = new provider.Grant({ accountId: session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope ?? "read");
  return provider.interactionFinished(request, response, { consent: { grantId: await grant.save() } });
}

async function valid(request) {
  const text = (request.headers.authorization ?? "").replace(/^Bearer /, "");
  const token = (await provider.ClientCredentials.find(text)) ?? (await provider.AccessToken.find(text));
  return token !== undefined && alive.has(token.jti);
}

createServer(async (request, response) => {
  if (request.url.startsWith("/oauth/")) return provider.callback()(request, response);
  if (request.url.startsWith("/interaction/")) return interact(request, response);
  if (request.url === "/login") {
    alive.clear();
    return send(response, 204);
  }
  const text = await body(request);
  if (!(await valid(request))) return send(response, 401, { error: "the token is not valid" });
  const document = text ? JSON.parse(text) : undefined;
  if (request.url === "/graphql") return send(response, 200, await warehouse.graphql(document));
  return send(response, ...warehouse.rest(request.method, request.url, document));
}).listen(port());
