"""Both encodings behind one door."""

import sys

import pytest

from worker_runtime.wire import encoding, neutral, payload
from worker_runtime.wire.errors import PicklesRefused, WireError

HERE = f"{sys.version_info[0]}.{sys.version_info[1]}"


def test_a_value_is_read_in_whichever_encoding_it_is() -> None:
    assert encoding.decode(payload.encode([1]), encoding.ON_WORKERS) == [1]
    assert encoding.decode(neutral.encode([1], encoding.ON_WORKERS).data, encoding.ON_WORKERS) == [1]
    with pytest.raises(WireError, match="no payload"):
        encoding.decode(b"something else", encoding.ON_WORKERS)


def test_who_wrote_it_is_answered_in_the_same() -> None:
    assert encoding.peer_of(payload.encode(1)) == encoding.PICKLES
    peer = encoding.peer_of(neutral.encode(1, encoding.ON_WORKERS).data)
    assert peer.python == HERE
    assert neutral.is_neutral(peer.encode(1))
    assert not neutral.is_neutral(encoding.PICKLES.encode(1))


def test_a_pickle_is_not_loaded_where_none_may_be() -> None:
    loaded = payload.encode(1)[:5] + b"this would not unpickle"
    with pytest.raises(PicklesRefused, match="loads no pickles of yours"):
        encoding.decode(loaded, encoding.ON_WORKERS, pickles=False)
    assert encoding.decode(neutral.encode(1, encoding.ON_WORKERS).data, encoding.ON_WORKERS, pickles=False) == 1
