"""Publishes by WHIP or plays by WHEP with aiortc: ICE and DTLS of its own, in Python.

    python3 aiortc_client.py publish|play http://127.0.0.1:8080/whip/demo/py VP8|H264

Tells what it sees as lines of JSON, and leaves as the standards ask when it gets SIGTERM.
"""

import asyncio
import json
import signal
import sys
import urllib.parse
import urllib.request

import aioice.ice
import numpy
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError, VideoStreamTrack
from av import AudioFrame, VideoFrame

# It leaves loopback out, and has no setting for that.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]


class Picture(VideoStreamTrack):
    """A bar that wanders."""

    async def recv(self):
        pts, time_base = await self.next_timestamp()
        pixels = numpy.full((360, 640, 3), 40, numpy.uint8)
        pixels[:, (pts // 3000 * 4) % 640] = 220
        frame = VideoFrame.from_ndarray(pixels)
        frame.pts, frame.time_base = pts, time_base
        return frame


class Sound(AudioStreamTrack):
    """A tone."""

    async def recv(self):
        silence = await super().recv()
        at = silence.pts + numpy.arange(silence.samples)
        samples = (8000 * numpy.sin(2 * numpy.pi * 440 * at / silence.sample_rate)).astype(numpy.int16)
        frame = AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.pts, frame.time_base, frame.sample_rate = silence.pts, silence.time_base, silence.sample_rate
        return frame


def tell(**what):
    print(json.dumps(what), flush=True)


def request(method, url, offer=None):
    headers = {"Content-Type": "application/sdp"} if offer else {}
    asked = urllib.request.Request(url, offer, headers, method=method)
    with urllib.request.urlopen(asked, timeout=10) as response:
        return response.status, response.headers, response.read().decode()


async def count(track, seen):
    """Takes in what is decoded."""
    name = "frames" if track.kind == "video" else "audio"
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        if track.kind == "video" or numpy.abs(frame.to_ndarray()).max() > 100:
            seen[name] += 1


async def main():
    role, url, codec = sys.argv[1:]
    loop = asyncio.get_running_loop()
    told, connected = asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, told.set)
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    seen = {"frames": 0, "audio": 0}
    counting = []

    @peer.on("connectionstatechange")
    def on_state():
        if peer.connectionState == "connected":
            connected.set()

    @peer.on("track")
    def on_track(track):
        counting.append(asyncio.ensure_future(count(track, seen)))

    if role == "publish":
        peer.addTransceiver(Sound(), direction="sendonly")
        video = peer.addTransceiver(Picture(), direction="sendonly")
    else:
        peer.addTransceiver("audio", direction="recvonly")
        video = peer.addTransceiver("video", direction="recvonly")
    codecs = RTCRtpReceiver.getCapabilities("video").codecs
    video.setCodecPreferences([one for one in codecs if one.mimeType == f"video/{codec}"])

    await peer.setLocalDescription(await peer.createOffer())
    offer = peer.localDescription.sdp.encode()
    _, headers, answer = await asyncio.to_thread(request, "POST", url, offer)
    session = urllib.parse.urljoin(url, headers["Location"])
    await peer.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    await connected.wait()
    tell(connected=True)
    while not told.is_set():
        if role == "play":
            tell(**seen)
        try:
            await asyncio.wait_for(told.wait(), 0.2)
        except TimeoutError:
            pass
    status, _, _ = await asyncio.to_thread(request, "DELETE", session)
    tell(left=status)
    await peer.close()


asyncio.run(main())
