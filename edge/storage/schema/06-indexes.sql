-- What is asked for with each proposal, and by who follows a trade, does not grow with all that ever
-- were.
CREATE INDEX trade_open_of ON trade (member) WHERE closed = 0;
CREATE INDEX trade_by_id ON trade (trade_id);
