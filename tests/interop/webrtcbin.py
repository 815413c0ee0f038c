"""Publishes test pictures and sound by WHIP with GStreamer's webrtcbin, until it is told to end.

    python3 webrtcbin.py http://127.0.0.1:8080/whip/demo/gst VP8
"""

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
PIPELINE = """
    webrtcbin name=peer bundle-policy=max-bundle
    videotestsrc is-live=true pattern=ball ! video/x-raw,width=640,height=360,framerate=30/1 ! {video} ! peer.
    audiotestsrc is-live=true wave=ticks ! audioconvert ! audioresample ! opusenc ! rtpopuspay
        ! application/x-rtp,media=audio,encoding-name=OPUS,payload=111 ! peer.
"""


class Publisher:
    """One webrtcbin, its POST and its DELETE."""

    def __init__(self, url, codec):
        self.url = url
        self.session = None
        self.pipeline = Gst.parse_launch(PIPELINE.format(video=VIDEO[codec]))
        self.peer = self.pipeline.get_by_name("peer")
        # libnice leaves loopback out unless it is told; the agent has to outlive the call.
        self.agent = self.peer.get_property("ice-agent")
        self.agent.emit("add-local-ip-address", "127.0.0.1")
        self.peer.connect("on-negotiation-needed", self.on_negotiation_needed)
        self.peer.connect("notify::ice-gathering-state", self.on_gathering)

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
        print("posted", flush=True)
        return GLib.SOURCE_REMOVE

    def end(self):
        self.pipeline.set_state(Gst.State.NULL)
        if self.session:
            request = urllib.request.Request(self.session, method="DELETE")
            with urllib.request.urlopen(request, timeout=10) as response:
                print("ended", response.status, flush=True)


def main():
    Gst.init(None)
    url, codec = sys.argv[1:]
    loop = GLib.MainLoop()
    publisher = Publisher(url, codec)
    GLib.unix_signal_add(GLib.PRIORITY_HIGH, signal.SIGTERM, loop.quit)
    publisher.start()
    loop.run()
    publisher.end()


main()
