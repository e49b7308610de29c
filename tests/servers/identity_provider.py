"""An OpenID provider for tests: oidc-provider-mock, and what it lacks of a real one:

- it checks PKCE (RFC 7636), by authlib;
- it sends `state` back with an error, too (RFC 6749, 4.1.2.1);
- the ID token of the subject `forged` is signed with a key that it has not published;
- it knows one client, `console`, whose secret is `hush%41`, with one address to come back to.

`PUT /users/SUBJECT` sets claims; they replace those of the provider itself, `nonce` and `exp` included.

    python identity_provider.py 9400 https://ops.example.in/console/sign-in/callback
"""

import os
import sys

import authlib.oauth2.rfc6749
import flask
import uvicorn
from authlib.oauth2.rfc7636 import CodeChallenge
from joserfc.jwk import RSAKey
from oidc_provider_mock import _app

PORT, CALLBACK = sys.argv[1:]
FORGER = RSAKey.generate_key(2048)


class Storage(_app.Storage):
    def __init__(self):
        super().__init__()
        self.store_client(
            _app.Client(
                id="console",
                secret="hush%41",
                redirect_uris=[CALLBACK],
                allowed_scopes=_app.Client.SCOPES_SUPPORTED,
                token_endpoint_auth_method="client_secret_basic",
            )
        )


class Grant(_app.AuthorizationCodeGrant):
    challenges = {}

    def save_authorization_code(self, code, request):
        super().save_authorization_code(code, request)
        self.challenges[code] = request.payload.data.get("code_challenge"), request.payload.data.get("code_challenge_method")


class Challenge(CodeChallenge):
    SUPPORTED_CODE_CHALLENGE_METHOD = ["S256"]

    def get_authorization_code_challenge(self, authorization_code):
        return Grant.challenges[authorization_code.code][0]

    def get_authorization_code_challenge_method(self, authorization_code):
        return Grant.challenges[authorization_code.code][1]


class Code(_app.OpenIDCode):
    def __call__(self, grant):
        super().__call__(grant)
        Challenge()(grant)

    def encode_id_token(self, token, request):
        self.forged = request.user.sub == "forged"
        return super().encode_id_token(token, request)

    def resolve_client_private_key(self, client):
        return FORGER if self.forged else super().resolve_client_private_key(client)


class Denied(authlib.oauth2.rfc6749.AccessDeniedError):
    def __init__(self, **given):
        super().__init__(**given)
        self.state = flask.request.args.get("state")


_app.Storage, _app.AuthorizationCodeGrant, _app.OpenIDCode = Storage, Grant, Code
authlib.oauth2.rfc6749.AccessDeniedError = Denied
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"
app = _app.app(require_client_registration=True, require_nonce=True)
uvicorn.run(app, interface="wsgi", port=int(PORT), log_config=None)
