"""Load balancing: requests of clients go to workers that are HTTP servers themselves.

    HostRouting, Gateway.by_path ──▶ Gateway ──▶ picking (pure) ──▶ forwarding, sockets ──▶ http://127.0.0.1:<port>
                                        ▲                                                     ▲
                                 loads (who has how much)                          health (who can be asked)

Nothing is queued on disk and nothing is tried twice: a request that is lost is lost, as on the platform.
"""
