"""tracker.storage: the event store. Vocabulary, names, port and adapters, spool, shipper, part choice, cache.

Import from the modules (`from tracker.storage.names import RunRef`): this file loads nothing, because
`import tracker` must stay light.
"""
