"""`flash dev`: the endpoints of a project at one port of this machine, brought up to date with its files.

    watching ──▶ taking_up ──▶ building ▶ stage (on the target, expires) ──▶ table
                     ▲                                                         │
    app (guard, pages) ──"is all taken up?"──────────────▶ upstream ──▶ the target's own API
                                                              hearing ──▶ visits ──▶ the console

What is answered comes from the target: this server adds addresses that people can guess, and the target's key.
"""
