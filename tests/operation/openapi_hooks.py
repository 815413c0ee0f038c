"""What a program that tries everything cannot know: sessions and participants that are there.

Loaded by schemathesis (`openapi.test.mjs`). Where a test case names a session or participant, one that is there takes its
place, so that what is behind the 404 is tried, too.
"""

import json
import os
import re
import urllib.error
import urllib.request

import schemathesis

SERVER = os.environ["PLENUM_URL"]
TOKEN = os.environ["PLENUM_TOKEN"]

with open(os.environ["PLENUM_DOCUMENT"], encoding="utf-8") as file:
    DOCUMENT = json.load(file)


for essence in ("application/sdp", "application/trickle-ice-sdpfrag"):
    schemathesis.serializer.alias(essence, "text/plain")


def post(path, body, essence):
    headers = {"Content-Type": essence, "Authorization": f"Bearer {TOKEN}"}
    request = urllib.request.Request(SERVER + path, data=body, headers=headers)
    return urllib.request.urlopen(request, timeout=5)


class Session:
    """A session made by the document's own example of an offer."""

    def __init__(self, door, path):
        self.path = path
        operation = DOCUMENT["paths"][door]["post"]
        self.offer = operation["requestBody"]["content"]["application/sdp"]["example"]
        self.name = self.participant = None

    def find(self):
        """Makes it, unless it is there: nobody connects to it, so it is forgotten after 15 s."""
        try:
            urllib.request.urlopen(f"{SERVER}/sessions/{self.name}", timeout=5)
        except urllib.error.HTTPError:
            with post(self.path, self.offer.encode(), "application/sdp") as answer:
                self.name = answer.headers["Location"].rsplit("/", 1)[1]
                self.participant = answer.headers["X-Participant"]


# A room that no test case thinks of: others are locked, limited and ended all the time.
ROOM = "a-room-of-the-hooks-own"
CLIENT = Session("/rooms/{room}/sessions", f"/rooms/{ROOM}/sessions")
PLAYER = Session("/whep/{room}", f"/whep/{ROOM}")
# A publisher goes by the identity in the token.
PUBLISHER = Session("/whip/{room}/{participant}", f"/whip/{ROOM}/suite?takeover=1")


@schemathesis.hook
def before_call(context, case, kwargs):
    path = case.operation.path
    names = case.path_parameters
    # An event stream goes on for as long as its session.
    if path.endswith(("/events", "/sse/{stream}")):
        kwargs["timeout"] = 0.2
    if "session" in names:
        session = PLAYER if path.endswith(("/sse", "/sse/{stream}", "/layer")) else CLIENT
        session.find()
        names["session"] = session.name
        if "stream" in names:
            with post(f"/sessions/{session.name}/sse", b"", "application/json") as answer:
                names["stream"] = answer.headers["Location"].rsplit("/", 1)[1]
    elif path.startswith("/api/") and "participant" in names:
        # Only room clients can be sent elsewhere.
        session = CLIENT if path.endswith("/move") else PUBLISHER
        session.find()
        names.update(room=ROOM, participant=session.participant)
