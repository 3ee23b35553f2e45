"""Many machines, one account: workers that share the account's limits, on PgQueuer and PostgreSQL. Extra `[pg]`.

`tables` are the fleet's rows and jobs, `book` writes a worker's own journal before them, `budget` keeps the account's
limits, `steps` is what is done for a row up to the end of its task, `storing` what is done for its video, in `places`;
`worker` runs both, `entering` and `bulk` bring rows in, `admin` sets up and looks.
"""
