"""The conversation on the worker link: the header of every frame, by type.

The worker opens the stream and says hello; the control plane answers welcome, then sends the artifact; the worker
starts its child and says ready. Every frame is a JSON header with a `type` and, for some, a body of bytes.

control plane → worker
    welcome                        the worker is known
    artifact  id                   body: the artifact (`paths.pack`); unpacked before the child starts
    run       job attempt call sizes      body: its payloads one after the other, raw: the arguments, and of a method
                                   the constructor's; `sizes` are theirs, or the name of a range of shared memory in
                                   which one lies; `call` is `Call.head()`; `timeout_ms` 0: none
                                   `window` [items, bytes]: how far a stream may run ahead of its reader
    credit    job attempt items bytes      so much of its stream has been read since the last word of this kind
    cancel    job attempt          stop that call
    drop      instance             close and forget an instance
    forget    id                   this artifact is not needed any more; where it is, it is sent again
    drain                          finish what runs, then end
worker → control plane
    hello     protocol worker token pid
    ready     python               the child is up; `python` is its full version
    beat
    started   job attempt          user code begins
    log       job stream lines     `stream` stdout or stderr; `job` null where the call cannot be told
    chunk     job attempt plain    body: an item of its stream (`items`): JSON where `plain` is true, else a payload
    progress  job attempt progress how far it says to be: `Progress.to_json()`
    done      job attempt error    body: the encoded result, or `range` names the one in which it lies; `error` is null
                                   or `ErrorInfo.to_json()`; `held` are the ranges of its arguments that are still in
                                   use; with `ends` true the worker takes no more jobs, and `gone` follows
    gone      reason stderr jobs   the child ended by itself; `jobs` ran in it; the worker ends too; with `hopeless`
                                   true another one would end in the same way

A worker with a command (`WorkerLaunch.command`) starts it when it is welcome. It takes no frames but drain, which gives
the command SIGTERM and time to end; any other is an error of protocol. It says hello, beat, log (`job` is null) and
gone, never ready: that the command is ready is seen by what the command itself does.

A worker with a port (`WorkerLaunch.port`) serves routes: it starts its child when it has the artifact. From then on it
is as one with a command.

The link between the worker's parent and its child speaks the same run, credit, cancel, drop, drain, artifact, forget,
ready, started, chunk, progress and done; there `artifact` carries the header of the manifest (`manifest`) and the body
is the encoded code.
"""

WELCOME, ARTIFACT, RUN, CANCEL, DROP, DRAIN = "welcome", "artifact", "run", "cancel", "drop", "drain"
FORGET, CREDIT = "forget", "credit"
HELLO, READY, BEAT, STARTED, LOG, DONE, GONE = "hello", "ready", "beat", "started", "log", "done", "gone"
CHUNK, PROGRESS = "chunk", "progress"
