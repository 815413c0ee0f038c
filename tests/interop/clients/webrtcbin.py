"""Publishes by WHIP or plays by WHEP with GStreamer's webrtcbin, until it is told to end.

    python3 webrtcbin.py publish|play http://127.0.0.1:8080/whip/demo/gst VP8|H264

Tells what it sees as lines of JSON, and leaves as the standards ask when it gets SIGTERM.
"""

import json
import os
import signal
import sys
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

VIDEO = {
    "VP8": "vp8enc deadline=1 keyframe-max-dist=3000 target-bitrate=800000 ! rtpvp8pay"
    " ! application/x-rtp,media=video,encoding-name=VP8,payload=96",
    "H264": "x264enc tune=zerolatency speed-preset=ultrafast bitrate=800 key-int-max=3000"
    " ! video/x-h264,profile=constrained-baseline"
    " ! rtph264pay config-interval=-1 aggregate-mode=zero-latency"
    " ! application/x-rtp,media=video,encoding-name=H264,payload=96",
}
PUBLISH = """
    webrtcbin name=peer bundle-policy=max-bundle
    videotestsrc is-live=true pattern=ball ! video/x-raw,width=640,height=360,framerate=30/1 ! {video} ! peer.
    audiotestsrc is-live=true wave=ticks ! audioconvert ! audioresample ! opusenc ! rtpopuspay
        ! application/x-rtp,media=audio,encoding-name=OPUS,payload=111 ! peer.
"""
PLAY = "webrtcbin name=peer bundle-policy=max-bundle"
RECEIVED = [
    "application/x-rtp,media=audio,encoding-name=OPUS,payload=111,clock-rate=48000,encoding-params=(string)2",
    "application/x-rtp,media=video,encoding-name={codec},payload=96,clock-rate=90000,rtcp-fb-nack=true,rtcp-fb-nack-pli=true",
]
TELL_EVERY_MS = 200


def tell(**what):
    print(json.dumps(what), flush=True)


class Client:
    """One webrtcbin, its POST and its DELETE."""

    def __init__(self, role, url, codec):
        self.role = role
        self.url = url
        self.session = None
        self.seen = {"frames": 0, "audio": 0}
        pipeline = PUBLISH.format(video=VIDEO[codec]) if role == "publish" else PLAY
        self.pipeline = Gst.parse_launch(pipeline)
        # A pipeline of one element comes as that element.
        self.peer = self.pipeline.get_by_name("peer") if role == "publish" else self.pipeline
        if role == "play":
            self.pipeline = Gst.Pipeline.new()
            self.pipeline.add(self.peer)
            for caps in RECEIVED:
                direction = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
                self.peer.emit("add-transceiver", direction, Gst.Caps.from_string(caps.format(codec=codec)))
            self.peer.connect("pad-added", self.on_pad)
        # libnice leaves loopback out unless it is told; the agent has to outlive the call.
        self.agent = self.peer.get_property("ice-agent")
        self.agent.emit("add-local-ip-address", os.environ.get("LOCAL_ADDRESS", "127.0.0.1"))
        self.peer.connect("on-negotiation-needed", self.on_negotiation_needed)
        self.peer.connect("notify::ice-gathering-state", self.on_gathering)
        self.peer.connect("notify::connection-state", self.on_state)

    def start(self):
        self.pipeline.set_state(Gst.State.PLAYING)

    def on_negotiation_needed(self, _peer):
        self.offering = Gst.Promise.new_with_change_func(self.on_offer, None)
        self.peer.emit("create-offer", None, self.offering)

    def on_offer(self, promise, _data):
        # The offer belongs to the reply, which has to stay alive while it is used.
        self.reply = promise.get_reply()
        self.offer = self.reply.get_value("offer")
        self.peer.emit("set-local-description", self.offer, Gst.Promise.new())

    def on_gathering(self, _peer, _state):
        if self.peer.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            GLib.idle_add(self.post)

    def post(self):
        offer = self.peer.get_property("local-description").sdp.as_text()
        request = urllib.request.Request(
            self.url, offer.encode(), {"Content-Type": "application/sdp"}, method="POST"
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            self.session = urllib.parse.urljoin(self.url, response.headers["Location"])
            answer = response.read()
        _, message = GstSdp.SDPMessage.new()
        GstSdp.sdp_message_parse_buffer(answer, message)
        self.answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
        self.peer.emit("set-remote-description", self.answer, Gst.Promise.new())
        return GLib.SOURCE_REMOVE

    def on_state(self, _peer, _state):
        if self.peer.get_property("connection-state") == GstWebRTC.WebRTCPeerConnectionState.CONNECTED:
            tell(connected=True)

    def on_pad(self, _peer, pad):
        """Decodes what a pad brings, and counts it."""
        kind = "audio" if pad.get_current_caps().get_structure(0).get_string("media") == "audio" else "frames"
        decoder = Gst.ElementFactory.make("decodebin")
        decoder.connect("pad-added", self.on_decoded, kind)
        self.pipeline.add(decoder)
        decoder.sync_state_with_parent()
        pad.link(decoder.get_static_pad("sink"))

    def on_decoded(self, _decoder, pad, kind):
        sink = Gst.ElementFactory.make("fakesink")
        sink.set_property("signal-handoffs", True)
        sink.set_property("sync", False)
        sink.connect("handoff", self.on_buffer, kind)
        self.pipeline.add(sink)
        sink.sync_state_with_parent()
        pad.link(sink.get_static_pad("sink"))

    def on_buffer(self, _sink, _buffer, _pad, kind):
        self.seen[kind] += 1

    def tell_what_was_seen(self):
        tell(**self.seen)
        return GLib.SOURCE_CONTINUE

    def end(self):
        self.pipeline.set_state(Gst.State.NULL)
        if self.session:
            request = urllib.request.Request(self.session, method="DELETE")
            with urllib.request.urlopen(request, timeout=10) as response:
                tell(left=response.status)


def main():
    Gst.init(None)
    role, url, codec = sys.argv[1:]
    loop = GLib.MainLoop()
    client = Client(role, url, codec)
    GLib.unix_signal_add(GLib.PRIORITY_HIGH, signal.SIGTERM, loop.quit)
    if role == "play":
        GLib.timeout_add(TELL_EVERY_MS, client.tell_what_was_seen)
    client.start()
    loop.run()
    client.end()


main()
