//! Everything that some server or other has taken for the end of a message, and RFC 5321 does not.

pub const FALSE_ENDS: [&[u8]; 18] = [
    b"\n.\n",
    b"\n.\r",
    b"\r.\n",
    b"\r.\r",
    b"\n.\r\n",
    b"\r.\r\n",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n.\n",
    b"\r\n.\r",
    b"\r\n.\r\r\n",
    b"\r\r\n.\r\r\n",
    b"\r\n\r.\r\n",
    b"\r\n..\r\n",
    b"\r\n .\r\n",
    b"\r\n. \r\n",
    b"\n\n.\r\n",
    b"\r\n.\n\r\n",
];
