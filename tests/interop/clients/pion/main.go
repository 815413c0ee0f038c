// Pion, the WebRTC of many Go programs, with what it is configured to do by default: header extensions,
// NACK, reports and transport-wide feedback. A process of its own, like the drivers beside it:
//
//	pion publish|play URL VP8|H264
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
	"github.com/pion/webrtc/v4"
	"github.com/pion/webrtc/v4/pkg/media"
	"github.com/pion/webrtc/v4/pkg/media/h264reader"
	"github.com/pion/webrtc/v4/pkg/media/ivfreader"
	"github.com/pion/webrtc/v4/pkg/media/oggreader"
	"github.com/pion/webrtc/v4/pkg/media/samplebuilder"
)

const (
	framesPerSecond = 30
	audioClockHz    = 48_000
	videoClockHz    = 90_000
	// How often a player says what it has seen.
	tellEvery = 200 * time.Millisecond
	// Packets of one picture that may come in any order.
	maxLate = 128
)

// What is different from codec to codec.
type codec struct {
	mimeType string
	encoder  string
	// A picture's payload again, from packets.
	depacketizer func() rtp.Depacketizer
	// Gives one encoded picture after the other.
	pictures func(io.Reader) (func() ([]byte, error), error)
}

var codecsByName = map[string]codec{
	"VP8": {
		mimeType:     webrtc.MimeTypeVP8,
		encoder:      "-c:v libvpx -deadline realtime -cpu-used 8 -b:v 800k -g 60 -f ivf",
		depacketizer: func() rtp.Depacketizer { return &codecs.VP8Packet{} },
		pictures: func(from io.Reader) (func() ([]byte, error), error) {
			reader, _, err := ivfreader.NewWith(from)
			return func() ([]byte, error) {
				frame, _, err := reader.ParseNextFrame()
				return frame, err
			}, err
		},
	},
	"H264": {
		mimeType: webrtc.MimeTypeH264,
		encoder: "-c:v libx264 -profile:v baseline -preset ultrafast -tune zerolatency -b:v 800k -g 60 " +
			"-x264-params sliced-threads=0:repeat-headers=1 -f h264",
		depacketizer: func() rtp.Depacketizer { return &codecs.H264Packet{} },
		pictures: func(from io.Reader) (func() ([]byte, error), error) {
			reader, err := h264reader.NewReader(from)
			return func() ([]byte, error) { return accessUnit(reader) }, err
		},
	},
}

// All NAL units of one picture, up to its slice: parameter sets stand before the picture that needs them.
func accessUnit(reader *h264reader.H264Reader) ([]byte, error) {
	var unit []byte
	for {
		nal, err := reader.NextNAL()
		if err != nil {
			return nil, err
		}
		unit = append(append(unit, 0, 0, 0, 1), nal.Data...)
		switch nal.UnitType {
		case h264reader.NalUnitTypeCodedSliceIdr, h264reader.NalUnitTypeCodedSliceNonIdr:
			return unit, nil
		}
	}
}

func main() {
	if len(os.Args) != 4 {
		fail(errors.New("publish|play URL VP8|H264"))
	}
	role, door, codec := os.Args[1], os.Args[2], codecsByName[os.Args[3]]
	told := make(chan os.Signal, 1)
	signal.Notify(told, syscall.SIGTERM)

	peer := newPeer()
	connected := make(chan struct{})
	peer.OnConnectionStateChange(func(state webrtc.PeerConnectionState) {
		if state == webrtc.PeerConnectionStateConnected {
			close(connected)
		}
	})
	var begin func()
	if role == "publish" {
		begin = publish(peer, codec)
	} else {
		begin = play(peer, codec)
	}
	session := meet(peer, door)
	<-connected
	tell(map[string]any{"connected": true})
	begin()

	<-told
	request := must(http.NewRequest(http.MethodDelete, session, nil))
	answer := must(http.DefaultClient.Do(request))
	tell(map[string]any{"left": answer.StatusCode})
}

func newPeer() *webrtc.PeerConnection {
	var settings webrtc.SettingEngine
	// The server is on loopback, for which there is no candidate by default.
	settings.SetIncludeLoopbackCandidate(true)
	return must(webrtc.NewAPI(webrtc.WithSettingEngine(settings)).NewPeerConnection(webrtc.Configuration{}))
}

// Posts an offer with all candidates, and takes the answer; gives the session's URL.
func meet(peer *webrtc.PeerConnection, door string) string {
	offer := must(peer.CreateOffer(nil))
	gathered := webrtc.GatheringCompletePromise(peer)
	check(peer.SetLocalDescription(offer))
	<-gathered
	response := must(http.Post(door, "application/sdp", strings.NewReader(peer.LocalDescription().SDP)))
	defer response.Body.Close()
	answer := string(must(io.ReadAll(response.Body)))
	if response.StatusCode != http.StatusCreated {
		fail(fmt.Errorf("%s: %s", response.Status, answer))
	}
	check(peer.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: answer}))
	return must(must(url.Parse(door)).Parse(response.Header.Get("Location"))).String()
}

// Adds a picture and a sound, and gives what lets them flow.
func publish(peer *webrtc.PeerConnection, codec codec) func() {
	video := addTrack(peer, codec.mimeType, "video")
	audio := addTrack(peer, webrtc.MimeTypeOpus, "audio")
	return func() {
		go func() {
			const test = "-re -f lavfi -i testsrc2=size=640x360:rate=30 -pix_fmt yuv420p "
			next := must(codec.pictures(ffmpeg(test + codec.encoder)))
			for {
				send(video, must(next()), time.Second/framesPerSecond)
			}
		}()
		go func() {
			const test = "-re -f lavfi -i sine=frequency=440:sample_rate=48000 -ac 2 -c:a libopus -b:a 64k "
			// A page holds what may wait: one frame each.
			reader, _, err := oggreader.NewWith(ffmpeg(test + "-page_duration 20000 -f ogg"))
			check(err)
			var before uint64
			for {
				page, header, err := reader.ParseNextPage()
				check(err)
				samples := header.GranulePosition - before
				before = header.GranulePosition
				send(audio, page, time.Duration(samples)*time.Second/audioClockHz)
			}
		}()
	}
}

func addTrack(peer *webrtc.PeerConnection, mimeType, id string) *webrtc.TrackLocalStaticSample {
	track := must(webrtc.NewTrackLocalStaticSample(webrtc.RTPCodecCapability{MimeType: mimeType}, id, "pion"))
	direction := webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly}
	sender := must(peer.AddTransceiverFromTrack(track, direction)).Sender()
	// What comes back is for the interceptors, which see it only when somebody reads.
	go func() {
		buffer := make([]byte, 1500)
		for {
			if _, _, err := sender.Read(buffer); err != nil {
				return
			}
		}
	}()
	return track
}

func send(track *webrtc.TrackLocalStaticSample, data []byte, length time.Duration) {
	if err := track.WriteSample(media.Sample{Data: data, Duration: length}); !errors.Is(err, io.ErrClosedPipe) {
		check(err)
	}
}

// Counts whole pictures, packets that were missing among them, and packets of sound.
func play(peer *webrtc.PeerConnection, codec codec) func() {
	direction := webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionRecvonly}
	for _, kind := range []webrtc.RTPCodecType{webrtc.RTPCodecTypeVideo, webrtc.RTPCodecTypeAudio} {
		must(peer.AddTransceiverFromKind(kind, direction))
	}
	var frames, gaps, audio atomic.Uint64
	peer.OnTrack(func(track *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		builder := samplebuilder.New(maxLate, codec.depacketizer(), videoClockHz)
		for {
			packet, _, err := track.ReadRTP()
			if err != nil {
				return
			}
			if track.Kind() == webrtc.RTPCodecTypeAudio {
				audio.Add(1)
				continue
			}
			builder.Push(packet)
			for sample := builder.Pop(); sample != nil; sample = builder.Pop() {
				frames.Add(1)
				gaps.Add(uint64(sample.PrevDroppedPackets))
			}
		}
	})
	return func() {
		go func() {
			for range time.Tick(tellEvery) {
				tell(map[string]any{"frames": frames.Load(), "gaps": gaps.Load(), "audio": audio.Load()})
			}
		}()
	}
}

// What FFmpeg makes of these arguments. It ends when nobody reads it any more.
func ffmpeg(arguments string) io.Reader {
	program := os.Getenv("FFMPEG")
	if program == "" {
		program = "ffmpeg"
	}
	words := append([]string{"-hide_banner", "-loglevel", "error"}, strings.Fields(arguments)...)
	command := exec.Command(program, append(words, "-flush_packets", "1", "-")...)
	command.Stderr = os.Stderr
	output := must(command.StdoutPipe())
	check(command.Start())
	return output
}

func tell(what map[string]any) {
	fmt.Println(string(must(json.Marshal(what))))
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

func check(err error) {
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
