"""The conversation on the worker link: the header of every frame, by type.

The worker opens the stream and says hello; the control plane answers welcome, then sends the artifact; the worker
starts its child and says ready. Every frame is a JSON header with a `type` and, for some, a body of bytes.

control plane → worker
    welcome                        the worker is known
    artifact  id                   body: the artifact (`paths.pack`); unpacked before the child starts
    run       job attempt call sizes      body: its payloads one after the other, raw: the arguments, and of a method
                                   the constructor's; `sizes` are theirs, or the name of a range of shared memory in
                                   which one lies; `call` is what a worker needs of `Call.head()`; `timeout_ms` 0: none
                                   `window` [items, bytes]: how far a stream may run ahead of its reader
    credit    job attempt items bytes      so much of its stream has been read since the last word of this kind
    cancel    job attempt          stop that call
    take_back jobs                 give back those of them that have not begun
    drop      instance             close and forget an instance
    forget    id                   this artifact is not needed any more; where it is, it is sent again
    drain                          finish what runs, then end
    lend      loan address token answer worker call    take calls from a client directly (`direct`), who is at this
                                   address; `call` as in run
    end_loan  loan                 take no more of them; what has begun goes on
    begun     loan number job attempt      that call of the client is this job now
worker → control plane
    hello     protocol worker token pid
    ready     python               the child is up; `python` is its full version
    beat
    started   job attempt          user code begins; where it is told: for calls with a timeout, and where several run
    back      jobs                 these have not begun, and will not: the answer to `take_back`
    loaded    modules              what installed packages have been imported by the end of the first call
    log       job stream lines     `stream` stdout or stderr; `job` null where the call cannot be told
    chunk     job attempt plain    body: an item of its stream (`items`): JSON where `plain` is true, else a payload
    progress  job attempt progress how far it says to be: `Progress.to_json()`
    done      job attempt error    body: the encoded result, or `range` names the one in which it lies; `held` are
                                   those of its arguments that are still in use; `error` is `ErrorInfo.to_json()`,
                                   absent where there is none; with `ends` true the worker takes no more jobs, and
                                   `gone` follows
    recorded  loan calls           these came from the client and were answered; `calls` is [[number, key, size of the
                                   arguments, size of the result, when it began, how long it took], …], in seconds
                                   since the epoch and microseconds; body: arguments and results, in turn
    begun     loan number key job attempt  body: the arguments. That call of the client is a job of the control plane's,
                                   which it has not heard of perhaps: its end is told as that of any other
    loan_over loan last            the client gives no more calls; `last` is the number of the last that has begun
    gone      reason stderr jobs unbegun   the child ended by itself; `jobs` were in it, of which `unbegun` had not
                                   begun; the worker ends too; with `hopeless` true another would end in the same way

A worker may have more calls than it runs at a time. One that runs one at a time begins them in the order in which they
came, so that of those without an outcome only the first may have begun; the others can be taken back.

A worker with a command (`WorkerLaunch.command`) starts it when it is welcome. It takes no frames but drain, which gives
the command SIGTERM and time to end; any other is an error of protocol. It says hello, beat, log (`job` is null) and
gone, never ready: that the command is ready is seen by what the command itself does.

A worker with a port (`WorkerLaunch.port`) serves routes: it starts its child when it has the artifact. From then on it
is as one with a command.

The link between the worker's parent and its child speaks the same run, credit, cancel, drop, drain, artifact, forget,
ready, started, chunk, progress and done; there `artifact` carries the header of the manifest (`manifest`) and the body
is the encoded code. A child that runs one call at a time begins run, drop and drain when it has their ticket
(`tickets`): the number of the frame, as all on the way to the child are counted. It hears cancel (there with that
`number`) and credit on a stream of their own. Its `done` has `quiet` true where the parent had read all that the call
has printed; else it waits for `heard` (no fields) before it goes on, so that what it prints then belongs to the next.
It hears lend and end_loan as run, with a ticket, and end_loan on the other stream, too, where it tells of a call that
runs (begun). In cancel the `number` of a call of a client is below zero.
"""

WELCOME, ARTIFACT, RUN, CANCEL, DROP, DRAIN = "welcome", "artifact", "run", "cancel", "drop", "drain"
FORGET, CREDIT, TAKE_BACK, HEARD = "forget", "credit", "take_back", "heard"
HELLO, READY, BEAT, STARTED, LOG, DONE, GONE = "hello", "ready", "beat", "started", "log", "done", "gone"
CHUNK, PROGRESS, BACK, LOADED = "chunk", "progress", "back", "loaded"
LEND, END_LOAN, BEGUN, RECORDED, LOAN_OVER = "lend", "end_loan", "begun", "recorded", "loan_over"
